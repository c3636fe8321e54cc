"""Data valuation: what each train example did to the loss of groups of test examples.

TracIn's influence is linear in the test example's gradient, so the influence summed over a group is
one product with the sum of the group's vectors (Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 3; the
authors' FAQ calls the sum over test examples data valuation). That takes ``N D G`` products for G
groups, and no matrix of all pairs. Vectors are read a block at a time, and added up in double
precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.valuation.groups import ValueGroup
from tracin_core.errors import InputError

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
# Of a block of vectors in double precision: 32 MB.
_BLOCK_NUMBERS = 4_000_000
# Of the groups' sums, and of the values of all train examples: 256 MB each.
MOST_NUMBERS = 32_000_000


@dataclass(frozen=True, eq=False)
class Values:
    """What N train examples are worth to G groups of test examples.

    Attributes:
        groups: The groups, ``G`` of them.
        totals: Sum of the influences on a group's examples, shape ``(N, G)``, in the units of the
            run's vectors. Positive: helpful, lowered the group's loss. Negative: harmful.
        self_influence: Of each train example on its own loss, by the same vectors; shape ``(N,)``.
    """

    groups: tuple[ValueGroup, ...]
    totals: Numbers
    self_influence: Numbers

    @property
    def means(self) -> Numbers:
        """Return the mean influence on a group's examples, shape ``(N, G)``."""
        sizes = np.array([len(group.positions) for group in self.groups], dtype=np.float64)
        means: Numbers = self.totals / sizes
        return means


def compute_values(train: Vectors, test: Vectors, groups: Sequence[ValueGroup]) -> Values:
    """Add up every train example's influences on each group of test examples.

    Args:
        train: Vectors of the train examples, shape ``(N, D)``; may be a memory map.
        test: Vectors of the test examples, whose dot products with them are influences; shape
            ``(M, D)``.
        groups: At least one. They may overlap.

    Raises:
        InputError: If there is no group, or the values of so many would not fit into memory.
    """
    sums = sum_groups(test, groups, num_train=len(train))
    totals = np.empty((len(train), len(groups)))
    own = np.empty(len(train))
    for start, rows in _read_blocks(train):
        totals[start : start + len(rows)] = rows @ sums.T
        own[start : start + len(rows)] = np.vecdot(rows, rows)
    return Values(tuple(groups), totals, own)


def sum_groups(test: Vectors, groups: Sequence[ValueGroup], *, num_train: int = 0) -> Numbers:
    """Return the sum of each group's test vectors, shape ``(G, D)``.

    Args:
        test: Shape ``(M, D)``.
        groups: At least one.
        num_train: Train examples whose values are wanted.

    Raises:
        InputError: If there is no group, or so many that sums or values would not fit into memory.
    """
    if not groups:
        raise InputError(
            "Found no group with test examples; expected at least one. Values are told by test "
            "examples: import some, or choose another division."
        )
    if len(groups) * max(*test.shape, num_train) > MOST_NUMBERS:
        raise InputError(
            f"Found {len(groups):,} groups of test examples, whose values take more than "
            f"{MOST_NUMBERS * 8 / 1e6:.0f} MB. Choose one class, or all test examples together."
        )
    members = np.zeros((len(groups), len(test)), dtype=bool)
    for row, group in zip(members, groups, strict=True):
        row[group.positions] = True
    sums = np.zeros((len(groups), test.shape[1]))
    for start, rows in _read_blocks(test):
        sums += members[:, start : start + len(rows)].astype(np.float64) @ rows
    return sums


def _read_blocks(vectors: Vectors) -> Iterator[tuple[int, Numbers]]:
    """Yield consecutive rows in double precision, and the position of the first of them."""
    step = max(1, _BLOCK_NUMBERS // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield start, np.asarray(vectors[start : start + step], dtype=np.float64)
