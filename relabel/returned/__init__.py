"""Decisions that come back in a file: from our own exports, or from Label Studio."""
