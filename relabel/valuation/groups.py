"""Groups of test examples: all of them, by class, by correctness, or some that a person names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from relabel.db.positions import NO_PREDICTION
from tracin_core.errors import InputError

Positions = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Division = Literal["all", "class", "correctness"]
DIVISIONS: tuple[Division, ...] = ("all", "class", "correctness")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, eq=False)
class ValueGroup:
    """Some test examples whose losses are added up.

    Attributes:
        name: Stable, for addresses and columns: "all", "right", "wrong", "class-3", "chosen".
        title: For people.
        positions: Of its examples in the test split, shape ``(m,)``, at least one.
    """

    name: str
    title: str
    positions: Positions


def group_all(count: int) -> list[ValueGroup]:
    """Return the group of all test examples; none where there are no test examples."""
    return _keep_filled([ValueGroup("all", "all", np.arange(count))])


def group_by_class(labels: Labels, classes: Sequence[str]) -> list[ValueGroup]:
    """Return one group a class that has test examples, in the order of the classes.

    Args:
        labels: Of the test examples, shape ``(M,)``.
        classes: Names of the classes.
    """
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    return _keep_filled(
        [
            ValueGroup(f"class-{label}", name, order[ends[label] : ends[label + 1]])
            for label, name in enumerate(classes)
        ]
    )


def group_by_correctness(labels: Labels, predicted: Labels) -> list[ValueGroup]:
    """Return those that are predicted as labelled, and the others.

    Args:
        labels: Of the test examples, shape ``(M,)``.
        predicted: Class that the last checkpoint predicts, or ``NO_PREDICTION``; shape ``(M,)``.
    """
    known = predicted != NO_PREDICTION
    right = known & (predicted == labels)
    return _keep_filled(
        [
            ValueGroup("right", "predicted as labelled", np.flatnonzero(right)),
            ValueGroup("wrong", "predicted otherwise", np.flatnonzero(known & ~right)),
        ]
    )


def group_chosen(positions: Sequence[int], count: int, title: str = "chosen") -> list[ValueGroup]:
    """Return one group of test examples that a person has named; repeated ones count once.

    Args:
        positions: In the test split.
        count: Test examples that there are.
        title: For people.

    Raises:
        InputError: If a position is none of them, or none is named.
    """
    chosen = np.unique(np.asarray(positions, dtype=np.int64))
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if len(outside) or not len(chosen):
        what = f"the test example {outside[0]}" if len(outside) else "no test example"
        raise InputError(
            f"Found {what}; expected positions from 0 to {count - 1}. Name test examples that the "
            "run has scored."
        )
    return [ValueGroup("chosen", title, chosen)]


def _keep_filled(groups: list[ValueGroup]) -> list[ValueGroup]:
    return [group for group in groups if len(group.positions)]


def parse_positions(typed: str, count: int) -> tuple[int, ...]:
    """Return the positions that a person typed as numbers from 1, such as "3, 17, 20-40".

    Args:
        typed: Numbers and ranges, apart by commas or spaces; may be empty.
        count: Test examples that there are.

    Raises:
        InputError: If something else was typed, or a number is none of theirs.
    """
    found: list[int] = []
    for word in re.sub(r"\s*-\s*", "-", typed).replace(",", " ").split():
        match = _RANGE.fullmatch(word)
        first, last = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
        if not 1 <= first <= last <= count:
            raise InputError(
                f"Found {word[:40]!r}; expected numbers of test examples from 1 to {count:,}, "
                "such as 3, 17, 20-40. Correct it."
            )
        found.extend(range(first - 1, last))
    return tuple(dict.fromkeys(found))
