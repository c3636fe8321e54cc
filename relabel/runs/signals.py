"""Measures of a run on disk: a Parquet row per example and checkpoint, read a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
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

# Beside them, one column for each score that the attribution method has a name for.
_PLACE_FIELDS = [pa.field("position", pa.int32()), pa.field("checkpoint", pa.int16())]
_MEASURE_FIELDS = [
    pa.field("loss", pa.float32()),
    pa.field("margin", pa.float32()),
    pa.field("predicted", pa.int16()),
    pa.field("given_probability", pa.float32()),
]
# Beside those, for regression.
_VALUE_FIELDS = [pa.field("predicted_value", pa.float32()), pa.field("residual", pa.float32())]


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """What was measured of examples, per checkpoint (C) and example (N).

    Every array has shape ``(C, N)``, or ``(C,)`` for a single example.

    Attributes:
        loss: Loss of the given label, in nats; for regression the squared error of targets that
            were divided by their standard deviation.
        margin: Logit of the given label minus the largest other logit; NaN for regression.
        predicted: Index of the most probable class; 0 for regression, where it means nothing.
        given_probability: Probability of the given label, 0 to 1; NaN for regression.
        scores: What the attribution method gave, by its names and before learning rates; a score
            that is not one of a checkpoint is the same at every one.
        predicted_value: For regression, the predicted number in the target's unit; else None.
        residual: For regression, the given number minus the predicted one; else None.
    """

    loss: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    predicted: npt.NDArray[np.integer]
    given_probability: npt.NDArray[np.float32]
    scores: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    predicted_value: npt.NDArray[np.float32] | None = None
    residual: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check that no score takes the name of another column.

        Raises:
            ValueError: If one does.
        """
        taken = sorted(_RESERVED & set(self.scores))
        if taken:
            raise ValueError(f"scores are called {', '.join(taken)}, as other columns are")

    def list_columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by the names of their columns, in the columns' order."""
        measures = [entry.name for entry in [*_MEASURE_FIELDS, *_VALUE_FIELDS]]
        values = {name: getattr(self, name) for name in measures}
        return {**self.scores, **{n: array for n, array in values.items() if array is not None}}

    def replace_examples(self, rows: npt.NDArray[np.intp], other: Signals) -> Signals:
        """Return the signals with those of some examples taken from another, row by row."""
        replaced, others = {}, other.list_columns()
        for name, values in self.list_columns().items():
            replaced[name] = np.array(values)
            replaced[name][:, rows] = others[name]
        return from_columns(replaced)


_MEASURES = {entry.name for entry in fields(Signals)} - {"scores"}
_RESERVED = _MEASURES | {entry.name for entry in _PLACE_FIELDS}


def from_columns(columns: Mapping[str, npt.NDArray[Any]]) -> Signals:
    """Return signals of arrays by the names of their columns; what is no measure is a score.

    Raises:
        TypeError: If a measure is missing.
    """
    measures = {name: values for name, values in columns.items() if name in _MEASURES}
    scores = {name: values for name, values in columns.items() if name not in _RESERVED}
    return Signals(**measures, scores=scores)


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
    for name, values in signals.list_columns().items():
        columns[name] = np.asarray(values).T.ravel()
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


def read_score_names(path: Path) -> tuple[str, ...]:
    """Return the names of the scores in a file, in the order of its columns."""
    return tuple(name for name in pq.read_schema(path).names if name not in _RESERVED)


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
    return from_columns(columns)


def check_rows(path: Path, expected: int, scores: Iterable[str] = ()) -> None:
    """Check that the file's footer promises the rows and the scores that the run has.

    Raises:
        ValueError: If it promises others.
    """
    metadata = pq.read_metadata(path)
    if metadata.num_rows != expected:
        raise ValueError(f"found {metadata.num_rows} rows, expected {expected}")
    missing = set(scores) - set(metadata.schema.names)
    if missing:
        raise ValueError(f"found no column {', '.join(sorted(missing))}")


def _choose_schema(signals: Signals) -> pa.Schema:
    """Return the columns of signals: more for regression, wider ones for very many classes."""
    scores = [pa.field(name, pa.float32()) for name in signals.scores]
    schema = pa.schema([*_PLACE_FIELDS, *scores, *_MEASURE_FIELDS])
    if signals.predicted.dtype.itemsize > 2:
        place = schema.get_field_index("predicted")
        schema = schema.set(place, pa.field("predicted", pa.int32()))
    for entry in _VALUE_FIELDS if signals.predicted_value is not None else ():
        schema = schema.append(entry)
    return schema


def _names_in(table: Any) -> list[str]:
    """Return which signals a table or schema has; those of older runs lack the newer ones."""
    found = getattr(table, "column_names", None) or table.names
    return [name for name in found if name not in ("position", "checkpoint")]


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
