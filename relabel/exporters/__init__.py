"""The export formats: one file each, which registers itself.

A new format is one new module in this folder; the command line, the page and the check of the
documentation read ``EXPORTERS``.
"""

from relabel.exporters.exported import Columns, Exported, OwnFile, Rows
from relabel.exporters.registry import EXPORTERS, Exporter, find_exporter, register_exporter
from relabel.exporters.registry import load_exporters as _load_exporters

__all__ = [
    "EXPORTERS",
    "Columns",
    "Exported",
    "Exporter",
    "OwnFile",
    "Rows",
    "find_exporter",
    "register_exporter",
]

_load_exporters(__path__)
