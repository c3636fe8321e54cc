"""Signals on disk: one Parquet row per example and checkpoint, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tracin_core.files import atomic_file

# One example's rows come from one or two groups: small enough to decode in about a
# millisecond, large enough that a million examples have a footer of a few hundred kilobytes.
ROWS_PER_GROUP = 8_192

_SCHEMA = pa.schema(
    [
        ("position", pa.int32()),
        ("checkpoint", pa.int16()),
        ("self_influence_all", pa.float32()),
        ("self_influence_last", pa.float32()),
        ("loss", pa.float32()),
        ("margin", pa.float32()),
        ("predicted", pa.int16()),
        ("given_probability", pa.float32()),
    ]
)
# Absent where only the last layer was scored.
_ALL_LAYERS = "self_influence_all"
# Beside those, for regression.
_VALUE_FIELDS = [pa.field("predicted_value", pa.float32()), pa.field("residual", pa.float32())]


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """What one capture pass measured, per checkpoint (C) and example (N).

    Every array has shape ``(C, N)``, or ``(C,)`` for a single example.

    Attributes:
        self_influence_last: Squared gradient norm over the last layer, without the learning rate.
        self_influence_all: The same over all layers; None where only the last one was scored.
        loss: Loss of the given label, in nats; for regression the squared error of targets that
            were divided by their standard deviation.
        margin: Logit of the given label minus the largest other logit; NaN for regression.
        predicted: Index of the most probable class; 0 for regression, where it means nothing.
        given_probability: Probability of the given label, 0 to 1; NaN for regression.
        predicted_value: For regression, the predicted number in the target's unit; else None.
        residual: For regression, the given number minus the predicted one; else None.
    """

    self_influence_last: npt.NDArray[np.float32]
    loss: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.integer]
    given_probability: npt.NDArray[np.float32]
    self_influence_all: npt.NDArray[np.float32] | None = None
    predicted_value: npt.NDArray[np.float32] | None = None
    residual: npt.NDArray[np.float32] | None = None


def write_signals(path: Path, signals: Signals, first_position: int = 0) -> None:
    """Write signals of consecutive examples, sorted by position and then by checkpoint.

    Args:
        path: The Parquet file; it appears whole or not at all.
        signals: Arrays of shape ``(C, N)``.
        first_position: Position of the first example within its split.
    """
    num_checkpoints, num_examples = signals.loss.shape
    positions = np.arange(first_position, first_position + num_examples, dtype=np.int32)
    columns: dict[str, Any] = {
        "position": np.repeat(positions, num_checkpoints),
        "checkpoint": np.tile(np.arange(num_checkpoints, dtype=np.int16), num_examples),
    }
    schema = _choose_schema(signals)
    for name in set(schema.names) - set(columns):
        columns[name] = np.asarray(getattr(signals, name)).T.ravel()
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP)


def merge_signals(path: Path, parts: Iterable[Path]) -> None:
    """Join files of consecutive examples into one, with a part in memory at a time.

    Args:
        path: The Parquet file; it appears whole or not at all, as if written in one piece.
        parts: By position.
    """
    paths = list(parts)
    schema = pq.read_schema(paths[0]).remove_metadata()
    with atomic_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        waiting = schema.empty_table()
        for part in paths:
            waiting = pa.concat_tables([waiting, pq.read_table(part, schema=schema)])
            ready = len(waiting) // ROWS_PER_GROUP * ROWS_PER_GROUP
            if ready:
                writer.write_table(waiting.slice(0, ready), row_group_size=ROWS_PER_GROUP)
                waiting = waiting.slice(ready)
        if len(waiting):
            writer.write_table(waiting)


def read_example_signals(path: Path, position: int, num_checkpoints: int) -> Signals:
    """Read one example's signals, decoding only the row groups that hold them.

    Args:
        path: The Parquet file of the example's split.
        position: The example's position within its split.
        num_checkpoints: Rows per example (C).

    Returns:
        Arrays of shape ``(C,)``.
    """
    rows = _read_rows(path, position * num_checkpoints, (position + 1) * num_checkpoints)
    return _signals({name: rows.column(name).to_numpy() for name in _names_in(rows)})


def read_signals_between(path: Path, start: int, stop: int, num_checkpoints: int) -> Signals:
    """Read the signals of positions ``start`` to ``stop - 1``, arrays of shape ``(C, B)``."""
    return _as_matrices(
        _read_rows(path, start * num_checkpoints, stop * num_checkpoints), num_checkpoints
    )


def read_all_signals(path: Path, num_checkpoints: int) -> Signals:
    """Read one split's signals as arrays of shape ``(C, N)``."""
    names = _names_in(pq.read_schema(path))
    return _as_matrices(pq.read_table(path, columns=names), num_checkpoints)


def _as_matrices(table: Any, num_checkpoints: int) -> Signals:
    return _signals(
        {
            name: table.column(name).to_numpy().reshape(-1, num_checkpoints).T
            for name in _names_in(table)
        }
    )


def _signals(columns: dict[str, Any]) -> Signals:
    """Return signals of columns that are numbers.

    Raises:
        ValueError: If one is not.
        TypeError: If one is missing.
    """
    for name, values in columns.items():
        if values.dtype.kind not in "fiu":
            raise ValueError(f"its column {name} holds {values.dtype}, expected numbers")
    return Signals(**columns)


def check_rows(path: Path, expected: int) -> None:
    """See that the file's footer promises as many rows as the run has.

    Raises:
        ValueError: If it promises others.
    """
    metadata = pq.read_metadata(path)
    if metadata.num_rows != expected:
        raise ValueError(f"found {metadata.num_rows} rows, expected {expected}")


def _choose_schema(signals: Signals) -> pa.Schema:
    """Return the columns of signals: more for regression, wider ones for very many classes."""
    schema = _SCHEMA
    if signals.self_influence_all is None:
        schema = schema.remove(schema.get_field_index(_ALL_LAYERS))
    if signals.predicted.dtype.itemsize > 2:
        place = schema.get_field_index("predicted")
        schema = schema.set(place, pa.field("predicted", pa.int32()))
    for entry in _VALUE_FIELDS if signals.predicted_value is not None else ():
        schema = schema.append(entry)
    return schema


def _names_in(table: Any) -> list[str]:
    """Return which signals a table or schema has; those of older runs lack the newer ones."""
    found = getattr(table, "column_names", None) or table.names
    return [entry.name for entry in fields(Signals) if entry.name in found]


def _read_rows(path: Path, first: int, last: int) -> Any:
    """Read rows ``first`` to ``last - 1`` as a table."""
    with pq.ParquetFile(path) as file:
        groups, offset = _covering_groups(file.metadata, first, last)
        table = file.read_row_groups(groups, columns=_names_in(file.schema_arrow))
    return table.slice(first - offset, last - first)


def _covering_groups(metadata: Any, first: int, last: int) -> tuple[list[int], int]:
    """Return the row groups with rows ``first`` to ``last - 1``, and the row they start at."""
    groups: list[int] = []
    offset = start = 0
    for group in range(metadata.num_row_groups):
        end = start + metadata.row_group(group).num_rows
        if end > first and start < last:
            offset = offset if groups else start
            groups.append(group)
        start = end
    return groups, offset
