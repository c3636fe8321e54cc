"""The table of import formats."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from relabel.importers.options import ImportOptions
    from relabel.importers.records import RowReader, Source

# What a column of a table can be named as.
ROLES = ("text", "image", "label", "features", "target", "split", "key", "truth")
# What can be said of data with columns, and of folders that are classes.
OF_COLUMNS = (
    *(*ROLES, "status", "status_values", "train_values", "test_values", "classes", "first_class"),
    *("merge_twins", "image_root"),
)
OF_FOLDERS = ("classes", "merge_twins", "train_values", "test_values")

Layout = Literal["folders", "rows", "dataset", "arrays"]


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way in which data of a format is written, as far as options differ between them.

    Attributes:
        name: Keeps it apart from all others.
        words: What it is, as in "... has no effect on a Parquet file".
        options: Those of ``ImportOptions`` that can have an effect, beside those that have one on
            everything.
        without_columns: What to do instead where a column was named and there are none; "" where
            there are columns.
    """

    name: str
    words: str
    options: tuple[str, ...]
    without_columns: str = ""


class Importer(ABC):
    """One kind of data.

    Attributes:
        name: As it is said on the command line and kept in a project's settings.
        title: As people call it.
        expected: What there has to be, for messages and help.
        order: Place among the others where they are listed, the lowest first. What data is, is
            asked in the opposite order, so that the general comes after the special.
        layout: "folders" if its classes are folders, "rows" if it is one file of rows with named
            columns, "dataset" if it is a folder in a form of its own, "arrays" if it is an
            archive of named arrays.
        extensions: Endings of its files, with the dot: such files are looked for in folders and
            may be uploaded.
        other_extensions: Endings that its files may have when they are named.
        is_sniffed: Whether files with these endings may be anything, and are looked into.
        forms: The ways in which it is written.
        claimed_by: Option that is about this kind of data alone, and therefore says that it is.
    """

    name: str
    title: str
    expected: str
    order: int = 100
    layout: Layout
    extensions: tuple[str, ...] = ()
    other_extensions: tuple[str, ...] = ()
    is_sniffed: bool = False
    forms: tuple[Form, ...]
    claimed_by: str | None = None

    @abstractmethod
    def sniff(self, path: Path) -> bool:
        """Return whether a file or folder is of this kind.

        Asked first of the kinds that have the file's ending, then of the others; of a "dataset"
        also for the folders behind others that are around everything.
        """

    def find_form(self, path: Path) -> Form:
        """Return how a file or folder of this kind is written."""
        return self.forms[0]

    def read_rows(self, path: Path, options: ImportOptions) -> RowReader | None:
        """Return a reader of the rows; None where there are none. Every "rows" has one.

        Raises:
            InputError: If the file cannot be read.
        """
        return None

    def open(self, path: Path, options: ImportOptions) -> Source:
        """Open the data; asked only where ``read_rows`` returns None, as rows make a table.

        Raises:
            InputError: If the data cannot be read, or is not what the options say.
        """
        raise NotImplementedError(f"The importer {self.name} neither opens data nor has rows.")


# By name, in the order in which they are listed.
IMPORTERS: dict[str, Importer] = {}

_Class = TypeVar("_Class", bound=type[Importer])


def register_importer(importer: _Class) -> _Class:
    """Enter a class into ``IMPORTERS``, and return it.

    Raises:
        ValueError: If another one has its name, or the name of one of its forms.
    """
    entry = importer()
    taken = [form.name for form in entry.forms if form.name in list_forms()]
    if entry.name in IMPORTERS or taken:
        raise ValueError(f"{', '.join([entry.name, *taken])} is registered already.")
    entries = sorted([*IMPORTERS.values(), entry], key=lambda one: (one.order, one.name))
    IMPORTERS.clear()
    IMPORTERS.update((one.name, one) for one in entries)
    return importer


def list_forms() -> dict[str, Form]:
    """Return the forms of all importers by their names."""
    return {form.name: form for importer in IMPORTERS.values() for form in importer.forms}


def describe_importers() -> str:
    """Return in words what can be imported."""
    packed = [one.expected for one in IMPORTERS.values() if one.layout != "arrays"]
    arrays = [one.expected for one in IMPORTERS.values() if one.layout == "arrays"]
    words = ", ".join(packed)
    return " or ".join([f"{words} (all of these also as .zip or .tar.gz)", *arrays])


def load_importers(folders: Iterable[str]) -> None:
    """Import every module of the package, each of which registers a kind of data."""
    for module in pkgutil.iter_modules(folders, "relabel.importers.formats."):
        importlib.import_module(module.name)
