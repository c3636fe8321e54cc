"""The format of text files in folders that are their classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import OF_FOLDERS, Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import Source


@register_importer
class TextFolderImporter(Importer):
    """A folder or an archive of text files."""

    name = "text-folder"
    title = "folder of text files"
    expected = "a folder of text files with one folder a class"
    order = 20
    layout = "folders"
    forms = (
        Form(
            name="text-folder",
            words="a folder of text files",
            options=(*OF_FOLDERS, "encoding"),
            without_columns="Classes are the names of its folders. For columns import a table "
            "that names the files, or has the texts themselves.",
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether its folders hold texts rather than images."""
        from relabel.archives import is_tar, is_zip
        from relabel.importers.readers.folders import holds_texts

        return (path.is_dir() or is_zip(path) or is_tar(path)) and holds_texts(path)

    def open(self, path: Path, options: ImportOptions) -> Source:
        """Open the folder or archive."""
        from relabel.importers.readers.folders import TextFolderSource

        return TextFolderSource(path, options)
