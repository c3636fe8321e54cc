"""Looking at vectors one by one, from the longest down, as far as one can still win."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tracin_core.retrieval.best import find_kth_largest, thin
from tracin_core.retrieval.directions import Direction, Directions
from tracin_core.retrieval.exact import multiply, rounding_error
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions

# So many of the longest come first: their k-th score tells how far into the rest to look.
_FIRST_ROWS = 512
# Larger than any rounding of a bound, so that a tie is looked at rather than missed.
BOUND_SLACK = 1 + 1e-6


@dataclass(frozen=True)
class Scan:
    """Vectors that are scanned exactly, largest norm first.

    Attributes:
        rows: Shape ``(n, D)``, side by side in memory.
        norms: Shape ``(n,)``.
    """

    rows: Matrix
    norms: Numbers

    def find_candidates(
        self, directions: Directions, floors: Numbers, k: int
    ) -> tuple[Positions, Positions]:
        """Find the rows that can be among the k best of each query.

        Args:
            directions: M queries.
            floors: Exact k-th score so far, shape ``(M,)``; minus infinity where there is none.
            k: Number of neighbours.

        Returns:
            Queries and rows, each of shape ``(n,)``; every true one of the k best is among them.
        """
        width = _count_first(k) if floors.min() == -np.inf else 0
        first = multiply(directions.narrow, self.rows[:width])
        width = first.shape[1]
        if width >= k:
            surely = find_kth_largest(first - self._margins[:width], k)
            floors = np.maximum(floors, surely)
        reached = self._count_down_to((floors / directions.lengths).min() / BOUND_SLACK)
        block = first
        if reached > width:
            rest = multiply(directions.narrow, self.rows[width:reached])
            block = np.concatenate([first, rest], axis=1)
        margins = self._margins[: block.shape[1]]
        cells = (block + margins >= floors.astype(np.float32)[:, None]).ravel().nonzero()[0]
        # Far faster than to ask for the nonzero cells of a matrix.
        queries, rows = np.divmod(cells, block.shape[1])
        return thin(block, queries, rows, k, margins)

    def find_for_one(self, direction: Direction, floor: float, k: int) -> Positions:
        """Find the rows that can be among the k best of a single query, in fewer steps.

        Args:
            direction: The query.
            floor: Exact k-th score so far; minus infinity where there is none.
            k: Number of neighbours.

        Returns:
            Shape ``(n,)``; every true one of the k best is among them.
        """
        scores = np.empty(len(self.rows), dtype=np.float32)
        width = _count_first(k) if floor == -np.inf else 0
        first = np.vecdot(self.rows[:width], direction.narrow, out=scores[:width])
        if len(first) >= k:
            surely = first - self._margins[: len(first)]
            surely.partition(len(first) - k)
            floor = max(floor, float(surely[-k]))
        reached = self._count_down_to(floor / direction.length / BOUND_SLACK)
        np.vecdot(self.rows[width:reached], direction.narrow, out=scores[width:reached])
        scores = scores[: max(width, reached)]
        margins = self._margins[: len(scores)]
        items: Positions = (scores + margins >= floor).nonzero()[0]
        which = np.zeros_like(items)
        return thin(scores[None], which, items, k, margins)[1]

    def _count_down_to(self, norm: float) -> int:
        """Return how many rows have at least this norm: no other can win."""
        return int(self._negated_norms.searchsorted(-norm, side="right"))

    @cached_property
    def _negated_norms(self) -> Numbers:
        return -self.norms

    @cached_property
    def _margins(self) -> Matrix:
        """Largest error of each row's float32 scores, shape ``(n,)``.

        Row by row, so that one vector of an absurd norm does not make all others candidates.
        """
        dimensions = self.rows.shape[1]
        underflow = dimensions * float(np.finfo(np.float32).smallest_subnormal)
        margins: Matrix = (rounding_error(dimensions) * self.norms + underflow).astype(np.float32)
        return margins


def _count_first(k: int) -> int:
    return max(_FIRST_ROWS, 2 * k)
