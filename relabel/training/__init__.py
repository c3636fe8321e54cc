"""The loop that trains a network and writes checkpoints with their learning rates."""
