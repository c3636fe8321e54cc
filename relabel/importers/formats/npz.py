"""The format of NumPy's ``.npz`` archives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from relabel.importers.formats.registry import Form, Importer, register_importer

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import Source


@register_importer
class NpzImporter(Importer):
    """Images, or rows of numbers, with their labels, as ``np.savez`` writes them."""

    name = "npz"
    title = "NumPy .npz file"
    expected = "NumPy arrays (.npz)"
    order = 60
    layout = "arrays"
    extensions = (".npz",)
    forms = (
        Form(
            name="npz",
            words="a NumPy archive",
            options=(
                *("image", "features", "label", "target", "truth", "key", "split"),
                *("train_values", "test_values", "classes", "first_class", "merge_twins"),
            ),
            without_columns="Texts are imported from a table: CSV, Parquet or JSON lines.",
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Return whether it is a zip archive with arrays in it."""
        from relabel.archives import is_zip, open_zip
        from relabel.importers.readers.table import ending_of

        if path.is_dir() or not is_zip(path):
            return False
        if ending_of(path) in self.extensions:
            return True
        try:
            with open_zip(path) as archive:
                return any(name.endswith(".npy") for name in archive.namelist())
        except (zipfile.BadZipFile, NotImplementedError):
            return False  # whoever opens it says what is wrong

    def open(self, path: Path, options: ImportOptions) -> Source:
        """Open the archive."""
        from relabel.importers.readers.npz import ArraySource

        return ArraySource(path, options)
