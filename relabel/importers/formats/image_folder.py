"""The format of images in folders that are their classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_FOLDERS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import Source


@register_importer
class ImageFolderImporter(Importer):
    """A folder or an archive of images; also what to take folders for that hold nothing known."""

    name = "image-folder"
    title = "folder of images"
    expected = "a folder of images with one folder a class"
    order = 10
    layout = "folders"
    forms = (
        Form(
            name="image-folder",
            words="a folder of images",
            options=OF_FOLDERS,
            without_columns="Classes are the names of its folders. For columns import a table "
            "that names the files.",
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether it is a folder or an archive; what is in it, is asked before."""
        from relabel.archives import is_tar, is_zip

        return path.is_dir() or is_zip(path) or is_tar(path)

    def open(self, path: Path, options: ImportOptions) -> Source:
        """Open the folder or archive."""
        from relabel.importers.readers.folders import ImageFolderSource

        return ImageFolderSource(path, options)
