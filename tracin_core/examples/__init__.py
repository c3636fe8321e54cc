"""What is inspected: stable keys, splits, readers for each source, demos."""
