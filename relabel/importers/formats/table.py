"""The format of tables: CSV and its relatives, JSON, Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader


@register_importer
class TableImporter(Importer):
    """One file with a row for each example."""

    name = "table"
    title = "table"
    expected = "a table (.csv, .tsv, .parquet, .jsonl, also .gz) of texts, image files or columns"
    order = 30
    layout = "rows"
    extensions = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
    other_extensions = (".txt", ".tab", ".psv", ".json")
    forms = (
        Form(
            name="delimited",
            words="a table of text (CSV or TSV)",
            options=(*OF_COLUMNS, "columns", "encoding", "delimiter"),
        ),
        Form(
            name="json-lines",
            words="a file of JSON lines",
            options=(*OF_COLUMNS, "encoding"),
        ),
        Form(name="parquet", words="a Parquet file", options=OF_COLUMNS),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether a file is called like a table, or is Parquet under another name."""
        from relabel.importers.readers.table import ending_of, is_json, is_parquet

        ending = ending_of(path)
        if ending == ".json":
            return is_json(path)
        by_name = ending != ".parquet" and ending in (*self.extensions, *self.other_extensions)
        return by_name or is_parquet(path)

    def find_form(self, path: Path) -> Form:
        """Return how the file is written, by its ending and its first bytes."""
        from relabel.importers.readers.table import find_table_form

        name = find_table_form(path)
        return next(form for form in self.forms if form.name == name)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the file to read its rows."""
        from relabel.importers.readers.table import open_table_rows

        return open_table_rows(path, options)
