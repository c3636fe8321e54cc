"""The readers of the formats: from files to examples, as a stream."""
