"""Data that was understood becomes a project, or makes one grow."""
