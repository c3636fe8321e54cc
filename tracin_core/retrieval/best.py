"""The k best candidates of each query, kept while a search goes through its blocks."""

from __future__ import annotations

import numpy as np

from tracin_core.retrieval.vectors import Matrix, Numbers, Positions

# Columns looked at to guess where a block's k-th score lies; a guess that is too low only
# costs time.
_SAMPLE = 2048
# More candidates than this many times k are thinned before they are scored exactly.
_CROWD = 8


class Best:
    """The ``k`` highest scores of each of ``M`` queries so far, with their positions.

    Order: higher score first; of equal scores the lower position first. A place not filled
    yet has score minus infinity and position ``-1``.

    Attributes:
        scores: Shape ``(M, k)``, best first.
        positions: Shape ``(M, k)``.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self.k = k
        self.scores: Numbers = np.full((num_queries, k), -np.inf)
        self.positions: Positions = np.full((num_queries, k), -1, dtype=np.int64)

    @property
    def floors(self) -> Numbers:
        """Score of the k-th best of each query, shape ``(M,)``; what a newcomer must beat."""
        return self.scores[:, -1]

    def offer(self, rows: Positions, positions: Positions, scores: Numbers) -> None:
        """Take in candidates: the query, train position and score of each, shapes ``(n,)``.

        A position may be offered to a query once only.
        """
        if not len(rows):
            return
        if len(self.scores) == 1:
            self._offer_to_one(positions, scores)
            return
        touched, local = np.unique(rows, return_inverse=True)
        held = np.repeat(np.arange(len(touched)), self.k)
        all_rows = np.concatenate([held, local])
        all_scores = np.concatenate([self.scores[touched].ravel(), scores])
        all_positions = np.concatenate([self.positions[touched].ravel(), positions])
        # An empty place sorts behind everything: its score is minus infinity.
        order = np.lexsort((all_positions, -all_scores, all_rows))
        kept = order[rank_in_group(all_rows[order]) < self.k]
        self.scores[touched] = all_scores[kept].reshape(len(touched), self.k)
        self.positions[touched] = all_positions[kept].reshape(len(touched), self.k)

    def _offer_to_one(self, positions: Positions, scores: Numbers) -> None:
        """Do the same for a single query: a third of the time, which a person waits for."""
        all_scores = np.concatenate([self.scores[0], scores])
        all_positions = np.concatenate([self.positions[0], positions])
        kept = np.lexsort((all_positions, -all_scores))[: self.k]
        self.scores[0], self.positions[0] = all_scores[kept], all_positions[kept]


def rank_in_group(sorted_groups: Positions) -> Positions:
    """Return 0, 1, 2, ... within each run of equal values, shape as given."""
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    lengths = np.diff(starts, append=len(sorted_groups))
    return np.arange(len(sorted_groups)) - np.repeat(starts, lengths)


def find_promising(
    block: Matrix, floors: Numbers, k: int, margin: float
) -> tuple[Positions, Positions]:
    """Find the cells of a block of approximate scores that can be among the k best.

    Args:
        block: Float32 scores, shape ``(M, B)``: queries by train vectors.
        floors: Exact k-th score so far, shape ``(M,)``; minus infinity where there is none.
        k: Number of candidates that are kept.
        margin: Largest error of an approximate score.

    Returns:
        Rows and columns, each of shape ``(n,)``; every true one of the k best is among them.
    """
    width = block.shape[1]
    limits = floors - margin
    unknown = np.isneginf(limits)
    if width > k and unknown.any():
        sample = block[unknown, :: max(1, width // max(_SAMPLE, 2 * k))]
        limits[unknown] = find_kth_largest(sample, k) - 2 * margin
    rows, columns = np.nonzero(block >= limits.astype(block.dtype)[:, None])
    return thin(block, rows, columns, k, margin)


def find_kth_largest(scores: Matrix, k: int) -> Numbers:
    """Return the k-th largest of each row, shape ``(M,)``."""
    place = scores.shape[1] - k
    kth: Numbers = np.partition(scores, place, axis=1)[:, place].astype(np.float64)
    return kth


def thin(
    block: Matrix, rows: Positions, columns: Positions, k: int, margins: Matrix | float
) -> tuple[Positions, Positions]:
    """Keep of each query's cells those that can reach its own k-th best cell, if they crowd.

    Args:
        block: Approximate scores, shape ``(M, B)``.
        rows: Of the cells, sorted, shape ``(n,)``.
        columns: Of the cells, shape ``(n,)``.
        k: Number of candidates that are kept.
        margins: Largest error of each column's scores, shape ``(B,)``, or of all.

    Returns:
        Rows and columns, each of shape ``(n,)`` with a smaller n or the same.
    """
    if len(rows) <= _CROWD * k * len(block):
        return rows, columns
    values = block[rows, columns].astype(np.float64)
    errors = np.broadcast_to(margins, block.shape[1])[columns]
    surely = values - errors
    limits = np.full(len(block), -np.inf)
    bounds = np.searchsorted(rows, np.arange(len(block) + 1))
    for row in np.flatnonzero(np.diff(bounds) > k):
        cells = surely[bounds[row] : bounds[row + 1]]
        limits[row] = np.partition(cells, len(cells) - k)[len(cells) - k]
    keep = values + errors >= limits[rows]
    return rows[keep], columns[keep]
