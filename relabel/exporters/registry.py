"""The table of export formats."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

# The rows of an export, a chunk at a time.
Rows = Iterable[list[dict[str, Any]]]
# Names of the columns, in order, with what each holds.
Columns = dict[str, Literal["text", "number", "count", "flag"]]
Writer = Callable[[BinaryIO, Columns, Rows], None]


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One form of the exported file.

    Attributes:
        name: As it is said on the command line and in Python.
        title: As people call it.
        extension: Of the file's name, without the dot.
        mime: Media type, for the browser.
        order: Place among the others where they are listed, the lowest first; the first one is
            taken where nothing is said.
        changes: What it does to texts, as the end of "In the TITLE, ..."; empty if it keeps every
            character.
        write: Writes the rows to an open file.
    """

    name: str
    title: str
    extension: str
    mime: str
    order: int
    changes: str
    write: Writer


# By name, in the order in which they are listed.
EXPORTERS: dict[str, Exporter] = {}


def register_exporter(
    name: str, title: str, extension: str, *, mime: str, order: int = 100, changes: str = ""
) -> Callable[[Writer], Writer]:
    """Return a decorator that enters a writer into ``EXPORTERS``.

    Args:
        name: As it is said on the command line and in Python.
        title: As people call it.
        extension: Of the file's name, without the dot.
        mime: Media type, for the browser.
        order: Place among the others, the lowest first.
        changes: What it does to texts, as the end of "In the TITLE, ..."; empty if it keeps
            every character.

    Raises:
        ValueError: If another one has that name or extension.
    """

    def register(write: Writer) -> Writer:
        for other in EXPORTERS.values():
            if name == other.name or extension == other.extension:
                raise ValueError(f"{name} (.{extension}) is registered already, as {other.title}.")
        entry = Exporter(
            name=name,
            title=title,
            extension=extension,
            mime=mime,
            order=order,
            changes=changes,
            write=write,
        )
        entries = sorted([*EXPORTERS.values(), entry], key=lambda one: (one.order, one.name))
        EXPORTERS.clear()
        EXPORTERS.update((one.name, one) for one in entries)
        return write

    return register


def find_exporter(extension: str) -> Exporter:
    """Return the exporter of files with this extension, the first one where none has it."""
    known = {one.extension: one for one in EXPORTERS.values()}
    return known.get(extension.lower(), next(iter(EXPORTERS.values())))


def load_exporters(folders: Iterable[str]) -> None:
    """Import every module of the package, each of which registers what it writes."""
    for module in pkgutil.iter_modules(folders, "relabel.exporters."):
        importlib.import_module(module.name)
