"""Parts of the review: the suspect, and what is decided about it."""
