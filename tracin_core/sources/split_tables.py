"""Several tables that are one: a table in each folder of pictures, as for training and testing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import Row, RowReader


class SplitTablesReader:
    """The rows of tables that lie in folders beside each other, one after the other."""

    def __init__(
        self, readers: Mapping[str, RowReader], folder: Path, image: str, *, are_splits: bool
    ) -> None:
        """Compare the columns.

        Args:
            readers: By the folder of the pictures that a table names, below ``folder``.
            folder: Around them.
            image: Column with the pictures' names.
            are_splits: Whether the folders say what is for training and testing.

        Raises:
            InputError: If the columns differ.
        """
        self.name, self.folder = folder.name, folder
        self._readers, self._image = readers, image
        self._splits = {name: name.split("/")[0] if are_splits else None for name in readers}
        schemas = {name: reader.schema for name, reader in readers.items()}
        first, *others = schemas
        for other in others:
            if set(schemas[other].columns) != set(schemas[first].columns):
                raise InputError(
                    f"The tables in {folder} have other columns: {first} has "
                    f"{', '.join(schemas[first].columns[:20])}, but {other} has "
                    f"{', '.join(schemas[other].columns[:20])}. Expected the same. Bring them to "
                    "the same columns, or import them one by one."
                )
        tables = ", ".join(f"{name}/{reader.name}" for name, reader in readers.items())
        self.schema = replace(
            schemas[first],
            splits=tuple(dict.fromkeys(filter(None, self._splits.values()))),
            notes=(*schemas[first].notes, f"Rows are numbered through the tables {tables}."),
            num_rows=None,
        )

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows, numbered through all tables, their pictures named from ``folder``."""
        before = 0
        for name, reader in self._readers.items():
            last = 0
            for row in reader.read_rows(columns):
                if isinstance(row, Problem):
                    last = row.row or last + 1
                    number = before + last
                    yield replace(row, row=number, where=f"row {number:,}")
                    continue
                last = row.number
                yield Row(
                    before + last,
                    self._named_from_folder(name, columns, row.values),
                    self._splits[name],
                    f"{name}/{reader.name}, row {last}",
                )
            before += last

    def _named_from_folder(
        self, name: str, columns: Sequence[str], values: Sequence[object]
    ) -> Sequence[object]:
        """Return a row's values with the folder in the picture's path."""
        return [
            f"{name}/{value}" if column == self._image and isinstance(value, str) else value
            for column, value in zip(columns, values, strict=True)
        ]
