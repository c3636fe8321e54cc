"""A folder of images, one folder a class."""

from __future__ import annotations

from typing import Any

from tracin_core.sources.class_folders import ClassFolderSource
from tracin_core.sources.records import EncodedImage
from tracin_core.sources.trees import TreeFile
from tracin_core.terms import Kind


class ImageFolderSource(ClassFolderSource):
    """Images whose class is the name of their folder."""

    format = "image-folder"
    kind: Kind = "image"
    layout = "one folder of images for each class: cat/1.jpg, dog/2.jpg"

    def _read_content(self, file: TreeFile) -> dict[str, Any]:
        return {"image": EncodedImage(file.read())}
