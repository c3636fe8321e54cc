"""A run's numbers as rows: rankings by signal, and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import Connection

from tracin_core.errors import InputError
from tracin_core.reviews.schema import PredictionRow, ScoreRow

# Rows sent to the database at a time; more gains nothing and holds more memory.
CHUNK = 10_000


def enter_ranking(
    connection: Connection,
    run_id: int,
    signal: str,
    scores: ArrayLike,
    train_ids: Sequence[int],
) -> None:
    """Rank the train examples by one signal, the highest first.

    Args:
        connection: Inside the transaction that enters the run.
        run_id: The run.
        signal: The signal's name.
        scores: By train position, shape ``(N,)``; high is suspect.
        train_ids: Example ids by position, ``N`` of them.

    Raises:
        InputError: If the length is wrong or a score is not finite.
    """
    values = _finite(scores, f"The signal {signal!r}")
    _check_length(f"The signal {signal!r}", len(values), "train", len(train_ids))
    # Stable, so that equal scores are ranked by position and a rescore keeps their order.
    order = np.argsort(-values, kind="stable")
    rows = (
        (run_id, signal, rank, train_ids[position], value)
        for rank, (position, value) in enumerate(
            zip(order.tolist(), values[order].tolist(), strict=True), start=1
        )
    )
    _insert_rows(connection, ScoreRow, rows)


def enter_predictions(
    connection: Connection,
    run_id: int,
    split: str,
    arrays: tuple[ArrayLike, ArrayLike, ArrayLike],
    ids: Sequence[int],
) -> None:
    """Enter what the run's last checkpoint says about the examples of a split.

    Args:
        connection: Inside the transaction that enters the run.
        run_id: The run.
        split: "train" or "test".
        arrays: Predicted class, its probability, probability of the given label, each ``(N,)``.
        ids: Example ids by position, ``N`` of them.

    Raises:
        InputError: If a length is wrong or a number is not finite.
    """
    names = ("predicted class", "predicted probability", "probability of the given label")
    columns = [
        _finite(array, f"{name} ({split})") for array, name in zip(arrays, names, strict=True)
    ]
    for column, name in zip(columns, names, strict=True):
        _check_length(f"The {name}", len(column), split, len(ids))
    rows = (
        (run_id, example_id, int(label), probability, given)
        for example_id, label, probability, given in zip(
            ids, *(column.tolist() for column in columns), strict=True
        )
    )
    _insert_rows(connection, PredictionRow, rows)


def _insert_rows(
    connection: Connection,
    target: type[ScoreRow] | type[PredictionRow],
    rows: Iterator[tuple[Any, ...]],
) -> None:
    """Insert rows whose values are in the order of the table's columns.

    By the driver's own statement: a million rows through SQLAlchemy's, with its dictionaries,
    took four times as long.
    """
    columns = [column.name for column in target.__table__.columns]
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    statement = (
        f"INSERT INTO {target.__tablename__} ({', '.join(columns)}) "  # noqa: S608 - our own names
        f"VALUES ({', '.join([mark] * len(columns))})"
    )
    while chunk := list(islice(rows, CHUNK)):
        connection.exec_driver_sql(statement, chunk)


def _finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"{name} has the shape {array.shape}. Expected one number an example.")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise InputError(
            f"{name} is {array[bad[0]]} at position {bad[0]} ({bad.size} such values). Expected "
            "finite numbers: look at that example and score again."
        )
    return array


def _check_length(name: str, found: int, split: str, expected: int) -> None:
    if found != expected:
        raise InputError(
            f"{name} has {found} values. Expected {expected}, one for each example of the "
            f"{split} split: score the project again."
        )
