"""A search as callers see it: queries in, neighbours of one side out, whatever the index."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.best import Best
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions

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


class Directions(NamedTuple):
    """Queries turned to the side that is looked for and scaled to a length in [0.5, 1).

    The scale is a power of two, so nothing is rounded, and neither a cold query (tiny norm)
    nor a hot one leaves the range of float32.

    Attributes:
        wide: Float64, shape ``(M, D)``.
        narrow: The same in float32.
        lengths: Norms, shape ``(M,)``.
    """

    wide: Numbers
    narrow: Matrix
    lengths: Numbers


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
    if side not in SIDES or k < 1:
        raise RetrievalError(
            f"Found side {side!r} and k {k}; expected 'proponents' or 'opponents' and a number "
            "of neighbours of at least 1."
        )
    k = min(k, shape[0])
    # A zero query scores 0 with every train vector: a tie, which the lowest positions win.
    found = Found(np.tile(np.arange(k), (len(matrix), 1)), np.zeros((len(matrix), k)))
    sign = 1.0 if side == "proponents" else -1.0
    warm = np.flatnonzero(matrix.any(axis=1))
    for start in range(0, len(warm), at_once):
        part = warm[start : start + at_once]
        directions, exponents = _scale(sign * matrix[part])
        best = searcher.search_part(directions, k)
        found.indices[part] = best.positions
        # Adding 0 turns -0.0 into 0.0.
        found.scores[part] = sign * np.ldexp(best.scores, exponents[:, None]) + 0.0
    return found if np.ndim(queries) == 2 else Found(found.indices[0], found.scores[0])


def as_queries(queries: ArrayLike, dimensions: int) -> Numbers:
    """Return the queries as a float64 matrix with one row each.

    Args:
        queries: Shape ``(M, D)`` or ``(D,)``.
        dimensions: ``D`` of the index.

    Raises:
        RetrievalError: If the shape does not fit, or a number is NaN or infinite.
    """
    matrix = np.atleast_2d(np.asarray(queries, dtype=np.float64))
    if matrix.ndim != 2 or matrix.shape[1] != dimensions:
        raise RetrievalError(
            f"Found a query of shape {np.shape(queries)}; expected {dimensions} numbers for each "
            "query. Use vectors of the same run, layers and projection as the train vectors."
        )
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise RetrievalError(
            f"Query {int(np.argmin(finite))} holds NaN or infinite numbers; expected finite "
            "ones. Look at the example and at the checkpoints it was scored with."
        )
    return matrix


def _scale(queries: Numbers) -> tuple[Directions, Positions]:
    """Scale each query by a power of two; return the exponents that undo it, shape ``(M,)``."""
    _, first = np.frexp(np.abs(queries).max(axis=1))
    roughly = np.ldexp(queries, -first[:, None])
    _, second = np.frexp(np.linalg.norm(roughly, axis=1))
    wide = np.ldexp(roughly, -second[:, None])
    lengths = np.linalg.norm(wide, axis=1)
    return Directions(wide, wide.astype(np.float32), lengths), first + second
