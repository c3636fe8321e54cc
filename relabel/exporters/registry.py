"""The table of export formats."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO

from relabel.exporters.exported import Exported, Rows
from relabel.text import KINDS, TASKS, Kind, Task
from tracin_core.errors import ConfigurationError

Writer = Callable[[BinaryIO, Exported, Rows], None]
# The ending of a form that is written as the imported file was.
OF_SOURCE = "*"


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One form of the exported file.

    Attributes:
        name: As it is said on the command line and in Python.
        title: As people call it.
        extension: Of the file's name, without the dot; ``OF_SOURCE`` for that of the imported one.
        mime: Media type, for the browser.
        order: Place among the others where they are listed, the lowest first; the first one is
            taken where nothing is said.
        changes: What it does to texts, as the end of "In the TITLE, ..."; empty if it keeps every
            character.
        kinds: Kinds of examples that it can hold.
        tasks: Tasks whose answers it can hold.
        needs_evidence: Whether it holds what the model says of each example.
        is_table: Whether it holds any columns, such as those of the history.
        drops_excluded: Whether excluded examples are left out unless they are asked for.
        write: Writes the rows to an open file.
    """

    name: str
    title: str
    extension: str
    mime: str
    order: int
    changes: str
    kinds: tuple[Kind, ...]
    tasks: tuple[Task, ...]
    needs_evidence: bool
    is_table: bool
    drops_excluded: bool
    write: Writer

    def fits(self, kind: str, task: str) -> bool:
        """Return whether it can hold a project of a kind and a task."""
        return kind in self.kinds and task in self.tasks

    def check_fits(self, kind: str, task: str) -> None:
        """Check that it can hold a project.

        Raises:
            ConfigurationError: If not; the message names those that can.
        """
        if not self.fits(kind, task):
            others = ", ".join(one.name for one in EXPORTERS.values() if one.fits(kind, task))
            raise ConfigurationError(
                f"The form {self.name!r} ({self.title}) holds no {kind} examples for {task}. "
                f"Choose one of: {others}."
            )

    def name_file(
        self, slug: str, *, reviewed_only: bool, day: date, what: str = "", of_source: str = ""
    ) -> str:
        """Return a name for the file that says what is in it.

        Args:
            slug: The project.
            reviewed_only: Whether what nobody has decided on is left out.
            day: Of the export.
            what: Something else than the labels that is in it, such as "history".
            of_source: Ending of the imported file, without the dot.
        """
        part = what or ("reviewed" if reviewed_only else "all")
        ending = of_source if self.extension == OF_SOURCE else self.extension
        return f"{slug}_{part}_{day:%Y-%m-%d}.{ending}"


# By name, in the order in which they are listed.
EXPORTERS: dict[str, Exporter] = {}


def register_exporter(
    name: str,
    title: str,
    extension: str,
    *,
    mime: str,
    order: int = 100,
    changes: str = "",
    kinds: tuple[Kind, ...] = KINDS,
    tasks: tuple[Task, ...] = TASKS,
    needs_evidence: bool = False,
    is_table: bool = False,
    drops_excluded: bool = False,
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
        kinds: Kinds of examples that it can hold.
        tasks: Tasks whose answers it can hold.
        needs_evidence: Whether it holds what the model says of each example.
        is_table: Whether it holds any columns, such as those of the history.
        drops_excluded: Whether excluded examples are left out unless they are asked for.

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
            kinds=kinds,
            tasks=tasks,
            needs_evidence=needs_evidence,
            is_table=is_table,
            drops_excluded=drops_excluded,
            write=write,
        )
        entries = sorted([*EXPORTERS.values(), entry], key=lambda one: (one.order, one.name))
        EXPORTERS.clear()
        EXPORTERS.update((one.name, one) for one in entries)
        return write

    return register


def get_exporter(name: str) -> Exporter:
    """Return the exporter of a name.

    Raises:
        ConfigurationError: If there is none.
    """
    if name not in EXPORTERS:
        raise ConfigurationError(
            f"Found the export format {name!r}. Expected one of {', '.join(EXPORTERS)}."
        )
    return EXPORTERS[name]


def find_exporter(file_name: str) -> Exporter:
    """Return the exporter whose ending a file's name has, the first one where none has it.

    Of two endings the longer one counts: ``.cleanlab.csv`` is no plain CSV.
    """
    name = f".{file_name.lower()}"
    known = [one for one in EXPORTERS.values() if name.endswith(f".{one.extension}")]
    return max(known, key=lambda one: len(one.extension), default=next(iter(EXPORTERS.values())))


def list_fitting(kind: str, task: str) -> list[Exporter]:
    """Return the exporters that can hold a project, in their order."""
    return [one for one in EXPORTERS.values() if one.fits(kind, task)]


def load_exporters(folders: Iterable[str]) -> None:
    """Import every module of the package, each of which registers what it writes."""
    for module in pkgutil.iter_modules(folders, "relabel.exporters."):
        importlib.import_module(module.name)
