"""The application without its screens; torch is loaded only where it is needed."""
