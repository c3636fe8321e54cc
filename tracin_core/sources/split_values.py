"""Which values of a split are for training and which for testing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracin_core.errors import InputError
from tracin_core.sources.accepted_options import without_effect
from tracin_core.sources.column_names import guess_split
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.values import show

SPLIT_UNUSED = "left out by its split"


def choose_split_values(
    values: Iterable[str], options: ImportOptions, notes: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say which values of a split are for training and which for testing.

    Raises:
        InputError: If none is for training, or one that is named does not occur.
    """
    found = sorted(set(values))
    _check_occur(found, options)
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


def _check_occur(found: Sequence[str], options: ImportOptions) -> None:
    """See that every value that was named is there.

    Raises:
        OptionWithoutEffectError: If one is not.
    """
    for name in ("train_values", "test_values"):
        missing = [value for value in getattr(options, name) or () if value not in found]
        if missing:
            raise without_effect(
                (name,),
                f"no split is called {', '.join(map(show, missing[:5]))}",
                f"Found {', '.join(map(show, found[:10]))}. Name those that are there.",
            )
