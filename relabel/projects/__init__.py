"""Projects as files: how much they take, backed up, restored, deleted."""
