"""The format of data sets saved by Hugging Face's ``datasets``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_COLUMNS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader, Source


@register_importer
class HuggingFaceImporter(Importer):
    """A folder of Arrow or Parquet files, or one Parquet file that says what its columns are."""

    name = "huggingface"
    title = "saved Hugging Face data set"
    expected = "a saved Hugging Face data set"
    order = 40
    layout = "dataset"
    extensions = (".parquet",)
    forms = (Form(name="huggingface", words="a saved Hugging Face data set", options=OF_COLUMNS),)

    def sniff(self, path: Path) -> bool:
        """Return whether it was saved by the library."""
        if path.is_dir():
            from relabel.importers.files.locating import lies_beside_folders
            from relabel.importers.readers.huggingface import is_saved_dataset

            return is_saved_dataset(path) and not lies_beside_folders(path)
        from relabel.importers.readers.parquet import is_huggingface
        from relabel.importers.readers.table import is_parquet

        return is_parquet(path) and is_huggingface(path)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader | None:
        """Open a file to read its rows; a folder is opened as a whole."""
        from relabel.importers.readers.table import open_table_rows

        return None if path.is_dir() else open_table_rows(path, options)

    def open(self, path: Path, options: ImportOptions) -> Source:
        """Open the folder or file."""
        from relabel.importers.readers.huggingface import open_dataset

        return open_dataset(path, options)
