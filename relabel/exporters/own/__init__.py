"""A person's own file with the label replaced, every other byte of it as it was."""
