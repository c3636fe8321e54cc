"""A person's data becomes a project, or makes one grow: all of it or nothing."""
