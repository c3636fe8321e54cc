"""A run's numbers as rows: rankings by signal, and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracin_core.errors import InputError

# (signal, rank, example id, value), as in the table `score` without its scoring.
ScoreValues = tuple[str, int, int, float]
# (example id, label, its probability, probability of the given label, value), as in the table
# `prediction` without its scoring.
PredictionValues = tuple[int, int | None, float | None, float | None, float | None]

_CLASS_COLUMNS = ("predicted class", "predicted probability", "probability of the given label")
_VALUE_COLUMNS = ("predicted value",)


def rank_scores(signal: str, scores: ArrayLike, train_ids: Sequence[int]) -> Iterator[ScoreValues]:
    """Rank the train examples by one signal, the highest first.

    The numbers are checked at once, the rows made as they are asked for.

    Args:
        signal: The signal's name.
        scores: By train position, shape ``(N,)``; high is suspect.
        train_ids: Example ids by position, ``N`` of them.

    Raises:
        InputError: If the length is wrong or a score is not finite.
    """
    values = _finite(scores, f"The signal {signal!r}")
    _check_length(f"The signal {signal!r}", len(values), "train", len(train_ids))
    return _ranked(signal, values, train_ids)


def list_predictions(
    split: str, arrays: Sequence[ArrayLike], ids: Sequence[int], task: str
) -> Iterator[PredictionValues]:
    """List what the run's last checkpoint says about the examples of a split.

    The numbers are checked at once, the rows made as they are asked for.

    Args:
        split: "train" or "test".
        arrays: For classification predicted class, its probability, probability of the given
            label; for regression the predicted value only; each of shape ``(N,)``.
        ids: Example ids by position, ``N`` of them.
        task: "classification" or "regression".

    Raises:
        InputError: If an array is missing, a length is wrong or a number is not finite.
    """
    names = _VALUE_COLUMNS if task == "regression" else _CLASS_COLUMNS
    if len(arrays) != len(names):
        raise InputError(
            f"Found {len(arrays)} arrays of predictions ({split}). Expected {len(names)} for "
            f"{task}: {', '.join(names)}."
        )
    columns = [
        _finite(array, f"{name} ({split})") for array, name in zip(arrays, names, strict=True)
    ]
    for column, name in zip(columns, names, strict=True):
        _check_length(f"The {name}", len(column), split, len(ids))
    if task == "regression":
        return _value_rows(ids, columns[0])
    return _class_rows(ids, columns)


def _ranked(
    signal: str, values: NDArray[np.float64], train_ids: Sequence[int]
) -> Iterator[ScoreValues]:
    # Stable, so that equal scores are ranked by position and a rescore keeps their order.
    order = np.argsort(-values, kind="stable")
    places = zip(order.tolist(), values[order].tolist(), strict=True)
    for rank, (position, value) in enumerate(places, start=1):
        yield signal, rank, train_ids[position], value


def _class_rows(
    ids: Sequence[int], columns: Sequence[NDArray[np.float64]]
) -> Iterator[PredictionValues]:
    rows: Iterator[Any] = zip(ids, *(column.tolist() for column in columns), strict=True)
    for example_id, label, probability, given in rows:
        yield example_id, int(label), probability, given, None


def _value_rows(ids: Sequence[int], values: NDArray[np.float64]) -> Iterator[PredictionValues]:
    for example_id, value in zip(ids, values.tolist(), strict=True):
        yield example_id, None, None, None, value


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
