"""The one pass over the examples that feeds everything: batches, signals, vectors."""
