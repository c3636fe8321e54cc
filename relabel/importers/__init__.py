"""A person's own data: what it is, what is wrong with it, how it becomes a project."""
