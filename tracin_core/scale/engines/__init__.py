"""One engine a file; a new one registers itself there."""
