"""The format of COCO JSON, as far as it classifies pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader

# What each column is, the file says.
_OPTIONS = (
    *("image", "label", "key", "train_values", "test_values", "classes", "merge_twins"),
    "image_root",
)


@register_importer
class CocoImporter(Importer):
    """One file of pictures, annotations and categories; the pictures lie beside or below it."""

    name = "coco"
    title = "COCO file"
    expected = "COCO JSON with one category for each picture"
    order = 48
    layout = "rows"
    extensions = (".json",)
    is_sniffed = True
    forms = (Form(name="coco", words="a COCO file", options=_OPTIONS),)

    def sniff(self, path: Path) -> bool:
        """Return whether the file begins with pictures or annotations."""
        from relabel.importers.readers.annotations.coco import is_coco
        from relabel.importers.readers.table import is_json

        return not path.is_dir() and is_json(path) and is_coco(path)

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader:
        """Open the file to read its rows."""
        from relabel.importers.readers.annotations.coco import CocoReader

        return CocoReader(path, options)
