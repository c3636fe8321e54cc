"""Which examples are the same: as one that is known already, or as an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sameness:
    """What each example is the same as.

    Attributes:
        known: Index of the known example with the same digest, -1 where there is none; ``(N,)``.
        first: Index of the example that stands for all with the same digest, ``(N,)``; its own
            where it is that one.
    """

    known: Indices
    first: Indices

    @property
    def is_new(self) -> npt.NDArray[np.bool_]:
        """Tell which examples are neither known nor repeat another, shape ``(N,)``."""
        alone: npt.NDArray[np.bool_] = self.first == np.arange(len(self.first))
        return alone & (self.known < 0)

    @property
    def repeats(self) -> Indices:
        """Return the examples that are the same as another new one, ascending."""
        return np.flatnonzero((self.known < 0) & (self.first != np.arange(len(self.first))))


def find_same(
    digests: npt.NDArray[np.void],
    splits: npt.NDArray[np.int8],
    known: npt.NDArray[np.void] | None = None,
    places: Indices | None = None,
) -> Sameness:
    """Compare digests by sorting them, which needs no table of all keys.

    Of equal examples the first one stands for all, one for training before one for testing.

    Args:
        digests: 16 bytes each, shape ``(N,)``.
        splits: 1 for testing, shape ``(N,)``.
        known: Digests of the examples that exist already, shape ``(M,)``, each once.
        places: In the data, by which the first one is told, shape ``(N,)``; None for the order
            here.
    """
    before = np.empty(0, digests.dtype) if known is None else known
    num_known = len(before)
    halves = np.concatenate([before, digests]).view(np.uint64).reshape(-1, 2)
    rank = np.concatenate([np.zeros(num_known, np.int8), 1 + (splits == 1).astype(np.int8)])
    mine = np.arange(len(digests)) if places is None else places
    place = np.concatenate([np.zeros(num_known, np.int64), mine])
    order = np.lexsort((place, rank, halves[:, 1], halves[:, 0]))  # stable: equals stay in order
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (halves[order][1:] != halves[order][:-1]).any(axis=1)
    heads = order[starts][np.cumsum(starts) - 1]
    head_of = np.empty(len(order), dtype=np.int64)
    head_of[order] = heads
    mine = head_of[num_known:]
    return Sameness(
        known=np.where(mine < num_known, mine, -1),
        first=np.where(mine < num_known, np.arange(len(mine)), mine - num_known),
    )
