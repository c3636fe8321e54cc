"""The export formats: one file each, which registers itself.

A new format is one new module in this folder; the command line, the page and the check of the
documentation read ``EXPORTERS``.
"""

from relabel.exporters.registry import (
    EXPORTERS,
    Columns,
    Exporter,
    Rows,
    find_exporter,
    register_exporter,
)
from relabel.exporters.registry import load_exporters as _load_exporters

__all__ = ["EXPORTERS", "Exporter", "register_exporter", "find_exporter", "Columns", "Rows"]

_load_exporters(__path__)
