"""The format of data sets downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import Source


@register_importer
class TorchvisionImporter(Importer):
    """A folder that torchvision knows by its files, or by the name that is said."""

    name = "torchvision"
    title = "torchvision data set"
    expected = "a torchvision data set"
    order = 50
    layout = "dataset"
    claimed_by = "dataset"
    forms = (
        Form(
            name="torchvision",
            words="a torchvision data set",
            options=("dataset", "classes"),
            without_columns="Its pictures and labels are known; import a table for others.",
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether a folder holds the files of a data set."""
        from relabel.importers.readers.torchvision import find_dataset

        return path.is_dir() and bool(find_dataset(path))

    def open(self, path: Path, options: ImportOptions) -> Source:
        """Open the folder."""
        from relabel.importers.readers.torchvision import TorchvisionSource

        return TorchvisionSource(path, options)
