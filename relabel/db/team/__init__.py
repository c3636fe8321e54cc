"""People at one queue: who they are, what they hold, may do, and answer a second time."""
