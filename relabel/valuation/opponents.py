"""Aggregated opponents: which train examples stand in the lists of many examples.

The authors' FAQ names two things to read off such counts. A wrongly labelled train example opposes
the correctly labelled test examples in its vicinity, so it recurs among the opponents of several.
And a few train examples may show up for nearly everything, whatever is asked: outliers with large
gradients, which are to be filtered out before the rest is read.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.text import Layers, Split
from relabel.triage.evidence import Evidence, Neighbour
from tracin_core.retrieval.exact import SIDES, Measure, Side

LISTED = 10  # of each side, as Inspect shows them
# Examples that are searched for, at most: of 60,000 train vectors, with 512 numbers, a search for
# so many takes seconds.
MOST_ASKED = 1_000
# In so large a share of the lists an example says little about any single one. Of 10 equally
# frequent classes one is a tenth of all; of the two demos 7 and 20 train examples reach a fifth.
RECURRING_SHARE = 0.2
# More are never hidden: each search looks for as many more.
MOST_RECURRING = 100
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Recurrence:
    """How often each of N train examples is among the strongest of the examples asked for.

    Attributes:
        num_asked: Examples that were searched for.
        counts: By side, in how many of their lists it stands, shape ``(N,)``.
        sums: By side, the sum of its scores there, shape ``(N,)``.
    """

    num_asked: int
    counts: dict[Side, npt.NDArray[np.int64]]
    sums: dict[Side, npt.NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class RecurringExample:
    """A train example that stands in the lists of a large share of all examples.

    Attributes:
        position: In the train split.
        share: Of the examples asked for, those in whose lists it is, on either side; 0 to 1.
        as_proponent: In how many it is a proponent.
        as_opponent: In how many it is an opponent.
    """

    position: int
    share: float
    as_proponent: int
    as_opponent: int


def spread_positions(positions: Sequence[int], most: int = MOST_ASKED) -> list[int]:
    """Return at most so many of some positions, evenly spread over them, in their order."""
    if len(positions) <= most:
        return [int(one) for one in positions]
    places = np.linspace(0, len(positions) - 1, most).round().astype(np.int64)
    return [int(positions[place]) for place in places]


def count_recurrence(
    evidence: Evidence,
    split: Split,
    positions: Sequence[int],
    *,
    num_train: int,
    layers: Layers | None = None,
    measure: Measure = "influence",
    k: int = LISTED,
) -> Recurrence:
    """Count how often each train example is among the k strongest of some examples.

    Args:
        evidence: Of the run.
        split: Of the examples that are asked for.
        positions: Theirs, in that split.
        num_train: Train examples of the run (N).
        layers: Whose gradients; None for all where the run has them.
        measure: How lists are ranked.
        k: Length of a list. One may be shorter: an opponent's score is negative.

    Raises:
        RunFolderError: If the run has no such example, or a file is missing or corrupt.
    """
    counts = {side: np.zeros(num_train, dtype=np.int64) for side in SIDES}
    sums = {side: np.zeros(num_train) for side in SIDES}
    for start in range(0, len(positions), _AT_ONCE):
        part = positions[start : start + _AT_ONCE]
        found = evidence.both_sides_of_many(split, part, k=k, layers=layers, measure=measure)
        for side in SIDES:
            listed = [item for one in found[side] for item in one]
            places = np.array([item.position for item in listed], dtype=np.int64)
            np.add.at(counts[side], places, 1)
            np.add.at(sums[side], places, [item.score for item in listed])
    return Recurrence(num_asked=len(positions), counts=counts, sums=sums)


def find_recurring(
    recurrence: Recurrence, least_share: float = RECURRING_SHARE
) -> list[RecurringExample]:
    """Return the train examples that stand in a large share of all lists, the most frequent first.

    Args:
        recurrence: Over a representative set of examples.
        least_share: Of the examples asked for, 0 to 1.
    """
    proponent, opponent = recurrence.counts["proponents"], recurrence.counts["opponents"]
    share = (proponent + opponent) / max(1, recurrence.num_asked)
    order = np.argsort(-share, kind="stable")[:MOST_RECURRING]
    return [
        RecurringExample(
            position=int(place),
            share=float(share[place]),
            as_proponent=int(proponent[place]),
            as_opponent=int(opponent[place]),
        )
        for place in order
        if share[place] >= least_share
    ]


def leave_out(
    neighbours: Sequence[Neighbour], hidden: Set[int], k: int
) -> tuple[list[Neighbour], int]:
    """Return the k strongest neighbours that are not hidden, and how many hidden ones were above.

    Args:
        neighbours: The strongest first, ``k + len(hidden)`` of them where there are so many.
        hidden: Positions of the train examples that are left out.
        k: At most so many are returned.
    """
    kept: list[Neighbour] = []
    skipped = 0
    for one in neighbours:
        if len(kept) == k:
            break
        if one.position in hidden:
            skipped += 1
        else:
            kept.append(one)
    return kept, skipped
