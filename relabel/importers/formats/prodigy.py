"""The format of what Prodigy exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader


@register_importer
class ProdigyImporter(Importer):
    """One file of texts or pictures, each with an answer."""

    name = "prodigy"
    title = "export of Prodigy"
    expected = "an export of Prodigy (JSONL, labels or options)"
    order = 46
    layout = "rows"
    extensions = (".jsonl", ".json")
    is_sniffed = True
    forms = (Form(name="prodigy", words="an export of Prodigy", options=(*OF_COLUMNS, "encoding")),)

    def sniff(self, path: Path) -> bool:
        """Return whether the file begins with answers."""
        from relabel.importers.readers.annotations.prodigy import is_prodigy
        from relabel.importers.readers.table import is_json

        return not path.is_dir() and is_json(path) and is_prodigy(path)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the file to read its rows."""
        from relabel.importers.readers.annotations.prodigy import ProdigyReader

        return ProdigyReader(path, options)
