"""What the columns of a table mean: labels, texts, splits, numbers."""
