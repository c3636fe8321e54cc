"""TracIn and the cheap signals that come from the same pass."""
