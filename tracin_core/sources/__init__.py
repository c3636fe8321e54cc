"""Data as people have it: images, tables, saved data sets, arrays; read as a stream.

A source is opened, previewed and read without a database, and without torch except for a
torchvision data set. The names in ``__all__`` are loaded on first use: the table of formats, which
the command line shows, needs none of the readers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracin_core.sources.formats import IMPORTERS
    from tracin_core.sources.opening import open_source
    from tracin_core.sources.options import ImportOptions
    from tracin_core.sources.records import (
        Column,
        Preview,
        PreviewRow,
        Problem,
        Source,
        SourceRecord,
    )

_LAZY = {
    "open_source": "opening",
    "ImportOptions": "options",
    "IMPORTERS": "formats",
    **dict.fromkeys(
        ("Source", "SourceRecord", "Problem", "Preview", "PreviewRow", "Column"), "records"
    ),
}

__all__ = [
    "open_source",
    "ImportOptions",
    "IMPORTERS",
    "Source",
    "SourceRecord",
    "Problem",
    "Preview",
    "PreviewRow",
    "Column",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"tracin_core.sources.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
