"""What a writer is told of the project whose labels it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from relabel.errors import WorkspaceError
from tracin_core.errors import InputError

# The rows of an export, a chunk at a time.
Rows = Iterable[list[dict[str, Any]]]
# Names of the columns, in order, with what each holds.
Columns = dict[str, Literal["text", "number", "count", "flag"]]


@dataclass(frozen=True, kw_only=True)
class OwnFile:
    """How a person's own file is given back.

    Attributes:
        number: Which import it came with, from 1; None for the only one.
        path: Where it is now; None for where it was imported from.
        beside: Whether what was decided and what the model says stand in columns at the end.
        protects: Whether cells that a spreadsheet would run as a formula get an apostrophe, which
            changes bytes that were the person's.
    """

    number: int | None = None
    path: Path | None = None
    beside: bool = False
    protects: bool = False


def ignore_note(_note: str) -> None:
    """Take no notice of what a writer says."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A project as its exported file shows it.

    Attributes:
        columns: Of the rows, in order.
        kind: "image", "text" or "table".
        task: "classification" or "regression".
        slug: The project's name.
        title: The same for people.
        classes: Names of the classes; empty for regression.
        content: Columns of the rows that the example consists of.
        settings: Of the project: what was imported, and how it was understood.
        reviewed_only: Whether what nobody has decided on is left out.
        keeps_excluded: Whether excluded examples are in the file.
        own: How a person's own file is given back.
        media: Folder of the pictures; None where it is not known.
        tell: Told what a person should know of the file.
    """

    columns: Columns
    kind: str
    task: str
    slug: str = ""
    title: str = ""
    classes: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    reviewed_only: bool = False
    keeps_excluded: bool = True
    own: OwnFile = field(default_factory=OwnFile)
    media: Path | None = None
    tell: Callable[[str], None] = ignore_note

    @property
    def answer(self) -> str:
        """The column with the answer as it stands: "label" or "value"."""
        return "value" if self.task == "regression" else "label"

    def read_picture(self, media_path: str) -> bytes:
        """Return a picture's file.

        Raises:
            InputError: If the path leads out of the project's folder.
            WorkspaceError: If it cannot be read.
        """
        if self.media is None:
            raise WorkspaceError(
                "The pictures of this project are not at hand. Export it with the command or the "
                "page, which know its folder."
            )
        root = self.media.resolve()
        path = (root / media_path).resolve()
        if not path.is_relative_to(root):
            raise InputError(
                f"The picture {media_path!r:.200} lies outside of the project's folder. Nothing "
                "was exported; restore the project from a backup that you trust."
            )
        try:
            return path.read_bytes()
        except OSError as error:
            raise WorkspaceError(
                f"The picture {path} cannot be read: {error.strerror or error}. Restore the "
                "project from a backup, or mend the file's permissions."
            ) from error
