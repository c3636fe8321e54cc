"""The format of tables in Arrow's own files, which Feather's are too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader


@register_importer
class ArrowImporter(Importer):
    """One file of Arrow: a stream of batches, or a file with a list of them."""

    name = "arrow"
    title = "Arrow or Feather file"
    expected = "an Arrow or Feather file"
    order = 36
    layout = "rows"
    extensions = (".arrow", ".feather")
    other_extensions = (".arrows", ".ipc")
    forms = (Form(name="arrow", words="an Arrow or Feather file", options=OF_COLUMNS),)

    def sniff(self, path: Path) -> bool:
        """Return whether it is called so, or begins as such a file does."""
        from relabel.importers.readers.arrow import FILE_START
        from relabel.importers.readers.table import ending_of, starts_with

        is_named = ending_of(path) in (*self.extensions, *self.other_extensions)
        return is_named or starts_with(path, FILE_START)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the file to read its rows."""
        from relabel.importers.readers.parquet import ColumnarReader

        return ColumnarReader({"": [path]}, path.parent, kind="arrow")
