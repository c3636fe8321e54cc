"""What is truly right, where it is known: kept apart, read for evaluation and nothing else.

``truth.parquet`` has a row for each example whose truth is known: its ``key``, and its
``true_label`` (a class index; -1 for a class that the project does not have) or, for regression,
its ``true_value``. ``planted`` tells in which way an example was made wrong on purpose, if it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relabel.errors import NotFoundError, WorkspaceError
from relabel.workspace import find_program_name
from tracin_core.files import atomic_file

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("true_label", pa.int64()),
        ("true_value", pa.float64()),
        ("planted", pa.string()),
    ]
)


def write_truth(path: Path, keys: list[str], true_labels: npt.NDArray[np.int64]) -> None:
    """Keep the true labels of the train examples apart, for evaluation only."""
    table = pa.table({"key": keys, "true_label": pa.array(true_labels, pa.int64())})
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


class TruthWriter:
    """Writes a truth file row by row."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA)
        self._rows: list[Mapping[str, Any]] = []
        self.num_rows = 0

    def add(
        self, key: str, *, label: int | None = None, value: float | None = None, planted: str = ""
    ) -> None:
        """Note the truth about one example."""
        row = {"key": key, "true_label": label, "true_value": value, "planted": planted}
        self._rows.append(row)
        self.num_rows += 1
        if len(self._rows) == 10_000:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows.clear()


def merge_truth(path: Path, new: Path) -> None:
    """Add a truth file to the one that is there; where both know a key, the new one counts."""
    added = _read_table(new)
    if path.is_file():
        before = _read_table(path)
        is_old = pc.invert(pc.is_in(before["key"], value_set=added["key"].combine_chunks()))
        added = pa.concat_tables([before.filter(is_old), added])
    with atomic_file(path) as temporary:
        pq.write_table(added, temporary)


def read_truth(path: Path) -> Mapping[str, int]:
    """Read the true class index by example key.

    Raises:
        NotFoundError: If the truth of this project is not known.
        WorkspaceError: If the file is damaged.
    """
    return _read_column(path, "true_label")


def read_true_values(path: Path) -> Mapping[str, float]:
    """Read the true number by example key, for regression.

    Raises:
        NotFoundError: If the truth of this project is not known.
        WorkspaceError: If the file is damaged.
    """
    return _read_column(path, "true_value")


def read_planted(path: Path) -> Mapping[str, tuple[int | None, float | None]]:
    """Read what the examples that were made wrong on purpose were before, by key."""
    if not path.is_file():
        return {}
    table = _read_table(path)
    found = table.filter(pc.not_equal(table["planted"], "")).to_pydict()
    return dict(
        zip(found["key"], zip(found["true_label"], found["true_value"], strict=True), strict=True)
    )


def _read_column(path: Path, column: str) -> dict[str, Any]:
    if not path.is_file():
        raise NotFoundError(
            f"The true labels of this project are not known ({path} does not exist), so there is "
            "nothing to evaluate against. They are known for the demo projects, and for data "
            "imported with --truth COLUMN or --plant SHARE."
        )
    table = _read_table(path)
    table = table.filter(pc.is_valid(table[column])).select(["key", column])
    keys, values = (table.column(place).to_pylist() for place in (0, 1))
    return dict(zip(keys, values, strict=True))


def _read_table(path: Path) -> pa.Table:
    """Read a truth file; one of an older version lacks columns.

    Raises:
        WorkspaceError: If it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        columns: Sequence[pa.ChunkedArray] = [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.chunked_array([_nothing(field, len(table))])
            for field in SCHEMA
        ]
        if not {"key", "true_label"} <= set(table.column_names):
            raise KeyError("key and true_label")
        return pa.table(list(columns), schema=SCHEMA)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise WorkspaceError(
            f"The known truth in {path} cannot be read: {error}. Delete the file, and build the "
            f"demo again with `{find_program_name()} demo`, or import the data again."
        ) from error


def _nothing(field: pa.Field, length: int) -> pa.Array:
    empty: Iterable[str | None] = [""] if field.name == "planted" else [None]
    return pa.array(list(empty) * length, field.type)
