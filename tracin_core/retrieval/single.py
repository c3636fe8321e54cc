"""One query through the bands, in as few steps as will do.

A person waits for it, and what came before has left the processor's caches cold: each of the
steps that hundreds of queries share costs a single one microseconds, together more than the
vectors it looks at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracin_core.retrieval.band import Band, Effort
from tracin_core.retrieval.directions import Direction
from tracin_core.retrieval.scan import BOUND_SLACK
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions, compute_scores


def walk_bands(
    vectors: Matrix, bands: Sequence[Band], effort: Effort, direction: Direction, k: int
) -> tuple[Positions, Numbers]:
    """Find the k largest dot products of one query.

    Args:
        vectors: Train vectors, shape ``(N, D)``.
        bands: Largest norms first.
        effort: For k neighbours.
        direction: The query.
        k: Number of neighbours.

    Returns:
        Train positions and scores, best first, shapes ``(k,)``; a place for which no candidate
        was found has position ``-1`` and score minus infinity.
    """
    positions, scores = np.empty(0, dtype=np.int64), np.empty(0)
    floor = -math.inf
    for band in bands:
        if band.largest_norm * direction.length * BOUND_SLACK < floor:
            break
        found, products = _score_band(vectors, band, effort, direction, floor, k)
        if len(positions):
            found = np.concatenate([positions, found])
            products = np.concatenate([scores, products])
        order = np.lexsort((found, -products))[:k]
        positions, scores = found[order], products[order]
        if len(scores) == k:
            floor = float(scores[-1])
    empty = (0, k - len(positions))
    if empty[1]:
        positions = np.pad(positions, empty, constant_values=-1)
        scores = np.pad(scores, empty, constant_values=-np.inf)
    return positions, scores


def _score_band(
    vectors: Matrix, band: Band, effort: Effort, direction: Direction, floor: float, k: int
) -> tuple[Positions, Numbers]:
    """Return positions and exact scores of what in the band may be among the best."""
    rows = vectors
    if band.scan is not None:
        items = chosen = band.scan.find_for_one(direction, floor, k)
        rows = band.scan.rows  # they were just read
        positions = band.positions[items]
    elif band.annoy is not None:
        query = direction.narrow.tolist()
        items = np.array(
            band.annoy.get_nns_by_vector(query, effort.candidates, effort.search_k),
            dtype=np.int64,
        )
        positions = chosen = band.positions[items]
    else:  # zero vectors: all tie, so the lowest positions will do
        positions = chosen = band.positions[:k]
    which = np.zeros(len(chosen), dtype=np.int64)
    return positions, compute_scores(rows, chosen, direction.wide[None], which)
