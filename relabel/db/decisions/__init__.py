"""Decisions: their kinds and rules, recorded and taken back one by one or many at once."""
