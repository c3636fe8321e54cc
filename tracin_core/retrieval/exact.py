"""Exact search: every train vector is looked at, block by block, in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.retrieval.best import Best, find_promising
from tracin_core.retrieval.directions import Directions
from tracin_core.retrieval.queries import Found, Side, search_in_parts
from tracin_core.retrieval.vectors import (
    Matrix,
    Numbers,
    as_vectors,
    compute_norms,
    compute_scores,
)

# Scores held at a time, float32: 8 MB however many queries and vectors there are.
_BLOCK_SCORES = 1 << 21
# Below this norm float32 products underflow and a direction means nothing.
NEGLIGIBLE_NORM = 1e-30


class ExactSearch:
    """Exact proponents and opponents over train vectors, which may be memory-mapped.

    Both sides are an order over **all** train vectors: proponents from the largest score down,
    opponents from the smallest up; of equal scores the lower position comes first. The k best
    are returned whatever their sign, so with fewer than k negative scores the last opponents
    have positive ones: whoever shows them to a person filters by sign (as evidence does).

    Args:
        vectors: Shape ``(N, D)``, float32.
        norms: Their norms, shape ``(N,)``, if they were computed before.

    Raises:
        RetrievalError: If the vectors are not a matrix of finite numbers.
    """

    def __init__(self, vectors: ArrayLike, norms: Numbers | None = None) -> None:
        self.vectors = as_vectors(vectors)
        self.norms = compute_norms(self.vectors) if norms is None else norms

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> Found:
        """Find the k best train vectors for each query, by dot product.

        Args:
            queries: Shape ``(M, D)`` or ``(D,)``.
            k: Number of neighbours; at most ``N`` are returned.
            side: ``"proponents"`` (largest scores) or ``"opponents"`` (smallest).

        Raises:
            RetrievalError: If the queries do not fit, hold NaN, or ``k`` or ``side`` is wrong.
        """
        return search_in_parts(self, queries, k, side, shape=self.vectors.shape)

    def search_part(self, directions: Directions, k: int) -> Best:
        """Find the k largest dot products of some hundreds of queries."""
        best = Best(len(directions.narrow), k)
        error = rounding_error(self.vectors.shape[1])
        for rows in self._blocks(len(directions.narrow)):
            block = multiply(directions.narrow, self.vectors[rows])
            margin = error * float(self.norms[rows].max())
            queries, columns = find_promising(block, best.floors, k, margin)
            positions = columns + rows.start
            scores = compute_scores(self.vectors, positions, directions.wide, queries)
            best.offer(queries, positions, scores)
        return best

    def _blocks(self, num_queries: int) -> list[slice]:
        step = max(1, _BLOCK_SCORES // num_queries)
        return [slice(start, start + step) for start in range(0, len(self.vectors), step)]


class CosineSearch(ExactSearch):
    """The same by cosine: the dot product over both norms; 0 where a vector is (nearly) zero."""

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> Found:
        """Find the k best train vectors for each query, by cosine; as the base class else."""
        return super().search(scale_to_unit(queries), k, side)

    def search_part(self, directions: Directions, k: int) -> Best:
        """Find the k largest cosines of some hundreds of unit queries."""
        best = Best(len(directions.narrow), k)
        error = rounding_error(self.vectors.shape[1])
        for rows in self._blocks(len(directions.narrow)):
            norms = self.norms[rows]
            norms = np.where(norms > NEGLIGIBLE_NORM, norms, np.inf)
            block = multiply(directions.narrow, self.vectors[rows])
            block /= norms.astype(np.float32)
            queries, columns = find_promising(block, best.floors, k, error)
            positions = columns + rows.start
            scores = compute_scores(self.vectors, positions, directions.wide, queries)
            best.offer(queries, positions, scores / norms[columns])
        return best


def scale_to_unit(queries: ArrayLike) -> Numbers:
    """Return the queries with length one, shape as given; a zero query stays zero."""
    wide = np.asarray(queries, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    unit: Numbers = wide / np.where(lengths > 0, lengths, 1)
    return unit


def multiply(directions: Matrix, vectors: Matrix) -> Matrix:
    """Return approximate scores in float32, shape ``(M, B)``."""
    if len(directions) == 1:
        # As fast as a matrix product, which for one query waits on memory; and without its
        # threads, which stall for milliseconds where other work holds the cores.
        product: Matrix = np.vecdot(vectors, directions[0])[None, :]
        return product
    return directions @ vectors.T


def rounding_error(dimensions: int) -> float:
    """Bound the float32 error of a dot product of two vectors of unit length.

    Four times the probabilistic bound ``sqrt(D) u`` (Higham and Mary 2019, SIAM J. Sci.
    Comput. 41(5)), ``u = 2**-24``.
    """
    return float(4 * dimensions**0.5 * 2.0**-24)
