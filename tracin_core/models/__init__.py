"""Built-in networks and how to make them from a saved configuration."""
