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
    """Write train/CLASS/NAME and test/CLASS/NAME, and what each file is in metadata.csv."""
    lines = io.StringIO(newline="")
    table = csv.writer(lines)
    table.writerow(_COLUMNS)
    with make_zip(file) as archive:
        own = archive.name_file("", "metadata", ".csv")
        for chunk in chunks:
            for row in chunk:
                folder = archive.name_folder(
                    archive.name_folder("", row["split"]), row[exported.answer]
                )
                path = write_picture(archive, exported, folder, row)
                cells = row | {"file_name": path}
                table.writerow([safe_cell(cells[name]) for name in _COLUMNS])
        archive.write(own, lines.getvalue().encode())


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
