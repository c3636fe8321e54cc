"""The format of what doccano exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader


@register_importer
class DoccanoImporter(Importer):
    """One file of texts or pictures, each with a list of labels."""

    name = "doccano"
    title = "export of doccano"
    expected = "an export of doccano (JSONL, one label each)"
    order = 44
    layout = "rows"
    extensions = (".jsonl", ".json")
    is_sniffed = True
    forms = (Form(name="doccano", words="an export of doccano", options=(*OF_COLUMNS, "encoding")),)

    def sniff(self, path: Path) -> bool:
        """Return whether the file begins with texts and lists of labels."""
        from relabel.importers.readers.annotations.doccano import is_doccano
        from relabel.importers.readers.table import is_json

        return not path.is_dir() and is_json(path) and is_doccano(path)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the file to read its rows."""
        from relabel.importers.readers.annotations.doccano import DoccanoReader

        return DoccanoReader(path, options)
