"""What all long work shares: its progress, its log, its lock, its threads."""
