"""Parts of the history."""
