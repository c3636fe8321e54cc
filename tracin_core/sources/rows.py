"""Rows of a table, whatever file they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tracin_core.errors import InputError
from tracin_core.sources.records import Problem

MAX_COLUMNS = 1000


class Row(NamedTuple):
    """One row.

    Attributes:
        number: As the file's readers count: CSV like a spreadsheet, where the header is row 1.
        values: One a column that was asked for.
        split: Where the file itself is a split: its name.
        place: What it is found by in the data; None where that is the reader's name and its number.
    """

    number: int
    values: Sequence[Any]
    split: str | None = None
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What a file says about its columns.

    Attributes:
        columns: Names, in order.
        class_names: Names of the classes of integer columns that come with them.
        image_columns: Columns that hold image data.
        typed: Whether numbers are numbers; in CSV all values are text.
        splits: Names of the splits that the file or folder consists of; empty if it has none.
        notes: What a person should know about how the file was read.
        num_rows: None where only reading tells.
    """

    columns: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image_columns: frozenset[str] = frozenset()
    typed: bool = False
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    num_rows: int | None = None


class RowReader(Protocol):
    """A file or folder with rows, read from beginning to end as often as needed.

    Attributes:
        schema: What it says about its columns.
        name: Of the file or folder, for people.
        folder: What relative paths in the data are relative to.
    """

    schema: Schema
    name: str
    folder: Path

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows with the values of some columns, and what is no row."""


def check_column_names(columns: Sequence[str], path: Path) -> None:
    """See that every column can be named.

    Raises:
        InputError: If two have the same name, or there are too many.
    """
    counts = Counter(columns)
    doubled = sorted(name for name, count in counts.items() if count > 1)
    if doubled:
        raise InputError(
            f"{path} has several columns called {', '.join(map(repr, doubled[:5]))}. Expected "
            "every name once. Rename or remove the others."
        )
    if len(columns) > MAX_COLUMNS:
        raise InputError(
            f"{path} has {len(columns):,} columns, expected at most {MAX_COLUMNS:,}. If its rows "
            "are images or vectors, save them as arrays in an .npz file; else remove columns."
        )


def row_problem(number: int, message: str, what: str) -> Problem:
    """Return a problem at a row."""
    return Problem(number, f"row {number:,}", message, what)
