"""A folder of pictures, one folder a class, by the labels as they stand."""

from __future__ import annotations

import csv
import io
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from relabel.archives import NewArchive, make_zip
from relabel.exporters.csv import safe_cell
from relabel.exporters.exported import Exported, Rows
from relabel.exporters.registry import register_exporter

_COLUMNS = ("file_name", "label", "given_label", "split", "key", "status", "excluded")


@register_exporter(
    "image-folder",
    "Folder of images",
    "images.zip",
    mime="application/zip",
    order=90,
    changes="classes and files get names that every system can hold; metadata.csv has the classes "
    "as they are, but for an apostrophe before what a spreadsheet would run as a formula",
    kinds=("image",),
    tasks=("classification",),
    drops_excluded=True,
)
def write_image_folder(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write train/CLASS/NAME and test/CLASS/NAME, and what each file is in their metadata.csv.

    Readers of folders that know such tables look for one in each split's folder.
    """
    tables: dict[str, _Table] = {}
    with make_zip(file) as archive:
        for chunk in chunks:
            for row in chunk:
                split = row["split"]
                if split not in tables:
                    tables[split] = _Table(archive, archive.name_folder("", split))
                table = tables[split]
                folder = archive.name_folder(table.folder, row[exported.answer])
                table.add(row, write_picture(archive, exported, folder, row))
        for table in tables.values():
            archive.write(table.path, table.lines.getvalue().encode())


class _Table:
    """What each picture of a split is, with paths from the split's folder."""

    def __init__(self, archive: NewArchive, folder: str) -> None:
        self.folder = folder
        self.path = archive.name_file(folder, "metadata", ".csv")
        self.lines = io.StringIO(newline="")
        self._writer = csv.writer(self.lines)
        self._writer.writerow(_COLUMNS)

    def add(self, row: dict[str, Any], path: str) -> None:
        """Add the row of a picture, given its path in the archive."""
        name = path.removeprefix(f"{self.folder}/")
        # An apostrophe would make it the name of no file.
        cells = row | {"file_name": name if safe_cell(name) == name else f"./{name}"}
        self._writer.writerow([safe_cell(cells[name]) for name in _COLUMNS])


def write_picture(archive: NewArchive, exported: Exported, folder: str, row: dict[str, Any]) -> str:
    """Write the picture of an example into an archive, and return its path there.

    Its name is the one that it had in the data, as far as every system can hold it.
    """
    stored = PurePosixPath(row["media_path"])
    name = PurePosixPath((row["source_place"] or "").replace("\\", "/"))
    is_named = name.suffix.lower() == stored.suffix.lower()
    path = archive.name_file(folder, name.stem if is_named else row["key"], stored.suffix)
    archive.write(path, exported.read_picture(row["media_path"]), is_packed=True)
    return path
