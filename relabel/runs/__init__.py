"""One run's folder on disk: configuration, signals, vectors; read without torch."""
