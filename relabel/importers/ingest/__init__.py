"""Ingest planned data: a new project, or one that grows."""
