"""FiftyOne's classification data set: data/ with the pictures, and labels.json."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from relabel.archives import make_zip
from relabel.exporters.exported import Exported, Rows
from relabel.exporters.image_folder import write_picture
from relabel.exporters.registry import register_exporter

_ATTRIBUTES = ("given_label", "split", "key", "status", "excluded", "reviewer", "note")


@register_exporter(
    "fiftyone",
    "FiftyOne classification",
    "fiftyone.zip",
    mime="application/zip",
    order=80,
    changes="files get names that every system can hold; labels.json has the classes as they are",
    kinds=("image",),
    tasks=("classification",),
    drops_excluded=True,
)
def write_fiftyone(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write a FiftyOneImageClassificationDataset, with what was decided as attributes."""
    labels: dict[str, Any] = {}
    with make_zip(file) as archive:
        folder = archive.name_folder("", "data")
        own = archive.name_file("", "labels", ".json")
        for chunk in chunks:
            for row in chunk:
                path = write_picture(archive, exported, folder, row)
                name = path.removeprefix(f"{folder}/").rsplit(".", 1)[0]
                said = {one: row[one] for one in _ATTRIBUTES}
                labels[name] = {"label": row[exported.answer], "attributes": said}
        content = {"classes": None, "labels": labels}
        archive.write(own, json.dumps(content, ensure_ascii=False).encode())
