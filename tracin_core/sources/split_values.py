"""Which values of a split are for training and which for testing."""

from __future__ import annotations

from collections.abc import Iterable

from tracin_core.errors import InputError
from tracin_core.sources.column_names import guess_split
from tracin_core.sources.options import ImportOptions

SPLIT_UNUSED = "left out by its split"


def choose_split_values(
    values: Iterable[str], options: ImportOptions, notes: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say which values of a split are for training and which for testing.

    Raises:
        InputError: If none is for training.
    """
    found = sorted(set(values))
    train, test = options.train_values, options.test_values
    if test is None:
        test = tuple(v for v in found if guess_split(v) == "test" and v not in (train or ()))
    if train is None:
        train = tuple(value for value in found if value not in test)
        # Beside a value that says train, an unknown one (such as "unlabelled") is neither.
        train = tuple(v for v in train if guess_split(v) == "train") or train
    if not set(train) & set(found):
        raise InputError(
            f"No value of the split is for training: found {', '.join(found[:10])}. Name those "
            "that are with --train-values."
        )
    unused = [value for value in found if value not in (*train, *test)]
    notes.append(
        f"Split: {', '.join(train)} for training, {', '.join(test) or 'none'} for testing"
        + (f"; {', '.join(unused[:10])} left out" if unused else "")
        + ". --train-values and --test-values say otherwise."
    )
    return train, test
