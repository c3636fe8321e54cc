"""The format of workbooks of Excel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader


@register_importer
class ExcelImporter(Importer):
    """One sheet of a workbook, with a row for each example."""

    name = "excel"
    title = "workbook of Excel"
    expected = "a workbook of Excel (.xlsx)"
    order = 38
    layout = "rows"
    extensions = (".xlsx",)
    other_extensions = (".xlsm",)
    forms = (
        Form(name="excel", words="a workbook of Excel", options=(*OF_COLUMNS, "columns", "sheet")),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether it is called so, or holds a workbook under another name."""
        from relabel.importers.readers.excel import is_workbook
        from relabel.importers.readers.table import ending_of

        return ending_of(path) in (*self.extensions, *self.other_extensions) or is_workbook(path)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the workbook to read the rows of a sheet."""
        from relabel.importers.readers.excel import ExcelReader

        return ExcelReader(path, options)
