"""Per-example gradients: one rule family a file, capture, coverage, projection."""
