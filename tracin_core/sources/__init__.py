"""Data as people have it: images, tables, saved data sets, arrays; read as a stream.

A source is opened, previewed and read without a database, and without torch except for a
torchvision data set.
"""

from tracin_core.sources.opening import open_source
from tracin_core.sources.options import FORMATS, ImportOptions
from tracin_core.sources.records import (
    Column,
    Preview,
    PreviewRow,
    Problem,
    Source,
    SourceRecord,
)

__all__ = [
    "open_source",
    "ImportOptions",
    "FORMATS",
    "Source",
    "SourceRecord",
    "Problem",
    "Preview",
    "PreviewRow",
    "Column",
]
