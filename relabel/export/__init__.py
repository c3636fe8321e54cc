"""Exports of a project: its labels as they stand, in any of the formats of ``exporters``."""

from relabel.export.labels import export_labels

__all__ = ["export_labels"]
