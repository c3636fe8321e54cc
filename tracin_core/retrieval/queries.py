"""A search as callers see it: queries in, neighbours of one side out, whatever the index."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.best import Best
from tracin_core.retrieval.directions import Directions, find_largest, scale
from tracin_core.retrieval.vectors import Numbers, Positions

Side = Literal["proponents", "opponents"]
SIDES: tuple[Side, Side] = ("proponents", "opponents")
Measure = Literal["influence", "cosine"]

# Bounds the memory of a search for thousands of queries.
_QUERIES_AT_ONCE = 256


class Found(NamedTuple):
    """Neighbours, best first.

    Attributes:
        indices: Train positions, shape ``(M, k)``, or ``(k,)`` for a single query.
        scores: Exact dot products, or cosines (float64), same shape.
    """

    indices: Positions
    scores: Numbers


class Searcher(Protocol):
    """Any index."""

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> Found:
        """Find neighbours."""
        ...


class PartSearch(Protocol):
    """What an index does for some hundreds of queries that are not zero."""

    def search_part(self, directions: Directions, k: int) -> Best:
        """Find the k train vectors with the largest dot products."""
        ...


def search_in_parts(
    searcher: PartSearch,
    queries: ArrayLike,
    k: int,
    side: Side,
    *,
    shape: tuple[int, int],
    at_once: int = _QUERIES_AT_ONCE,
) -> Found:
    """Search for any number of queries, a few hundred at a time.

    Args:
        searcher: The index.
        queries: Shape ``(M, D)`` or ``(D,)``.
        k: Number of neighbours; at most ``N`` are returned.
        side: ``"proponents"`` (largest scores) or ``"opponents"`` (smallest).
        shape: ``(N, D)`` of the train vectors.
        at_once: Queries in a part.

    Raises:
        RetrievalError: If the queries do not fit, hold NaN, or ``k`` or ``side`` is wrong.
    """
    matrix = as_queries(queries, shape[1])
    k, sign = check_wish(k, side, shape[0])
    largest = find_largest(matrix)
    # A zero query scores 0 with every train vector: a tie, which the lowest positions win.
    found = Found(np.tile(np.arange(k), (len(matrix), 1)), np.zeros((len(matrix), k)))
    warm = np.flatnonzero(largest)
    for start in range(0, len(warm), at_once):
        part = warm[start : start + at_once]
        directions, exponents = scale(sign * matrix[part], largest[part])
        best = searcher.search_part(directions, k)
        found.indices[part] = best.positions
        # Adding 0 turns -0.0 into 0.0.
        found.scores[part] = sign * np.ldexp(best.scores, exponents[:, None]) + 0.0
    return found if np.ndim(queries) == 2 else Found(found.indices[0], found.scores[0])


def check_wish(k: int, side: Side, rows: int) -> tuple[int, float]:
    """Return how many neighbours there can be, and the sign that makes the side the largest.

    Raises:
        RetrievalError: If ``k`` or ``side`` is wrong.
    """
    if side not in SIDES or k < 1:
        raise RetrievalError(
            f"Found side {side!r} and k {k}; expected 'proponents' or 'opponents' and a number "
            "of neighbours of at least 1."
        )
    return min(k, rows), 1.0 if side == "proponents" else -1.0


def as_queries(queries: ArrayLike, dimensions: int) -> Numbers:
    """Return the queries as a float64 matrix with one row each.

    Args:
        queries: Shape ``(M, D)`` or ``(D,)``.
        dimensions: ``D`` of the index.

    Raises:
        RetrievalError: If the shape does not fit.
    """
    matrix = np.asarray(queries, dtype=np.float64)
    matrix = matrix[None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[1] != dimensions:
        raise RetrievalError(
            f"Found a query of shape {np.shape(queries)}; expected {dimensions} numbers for each "
            "query. Use vectors of the same run, layers and projection as the train vectors."
        )
    return matrix
