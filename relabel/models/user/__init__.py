"""A person's own network: its file, its agreement, its inputs."""
