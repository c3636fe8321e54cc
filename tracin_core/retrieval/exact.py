"""Exact search: every train vector is looked at, block by block, in bounded memory.

``ExactSearch`` and ``CosineSearch`` take queries ``(M, D)`` and return the k proponents or
opponents of each among train vectors ``(N, D)``, as positions and float64 scores. Products are
computed in float32; the cells that can be among the k best (``TopK``, ``find_promising``) are then
scored exactly. Queries are scaled by powers of two into the range of float32, which rounds
nothing. What every search needs of its vectors (shape, finiteness, norms, fingerprint) is computed
here too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracin_core.errors import RetrievalError

Matrix = NDArray[np.float32]
Numbers = NDArray[np.float64]
Positions = NDArray[np.int64]

Side = Literal["proponents", "opponents"]
SIDES: tuple[Side, Side] = ("proponents", "opponents")
Measure = Literal["influence", "cosine"]

# Bounds the memory of a search for thousands of queries.
_QUERIES_AT_ONCE = 256


class SearchResult(NamedTuple):
    """Neighbours, best first.

    Attributes:
        indices: Train positions, shape ``(M, k)``, or ``(k,)`` for a single query.
        scores: Exact dot products, or cosines (float64), same shape.
    """

    indices: Positions
    scores: Numbers


class Searcher(Protocol):
    """Any index."""

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> SearchResult:
        """Find neighbours."""
        ...


class BatchSearch(Protocol):
    """What an index does for some hundreds of queries that are not zero."""

    def offer_best(self, directions: Directions, best: TopK, first: int = 0) -> None:
        """Offer the train vectors that can be among the best; what cannot may be left out.

        Args:
            directions: M queries.
            best: Takes them; may hold some of other vectors already.
            first: Position of the first train vector.
        """
        ...


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

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> SearchResult:
        """Find the k best train vectors for each query, by dot product.

        Args:
            queries: Shape ``(M, D)`` or ``(D,)``.
            k: Number of neighbours; at most ``N`` are returned.
            side: ``"proponents"`` (largest scores) or ``"opponents"`` (smallest).

        Raises:
            RetrievalError: If the queries do not fit, hold NaN, or ``k`` or ``side`` is wrong.
        """
        return search_in_batches(self, queries, k, side, shape=self.vectors.shape)

    def offer_best(self, directions: Directions, best: TopK, first: int = 0) -> None:
        """Offer the largest dot products of some hundreds of queries, as ``BatchSearch`` does."""
        error = rounding_error(self.vectors.shape[1])
        for rows in self._blocks(len(directions.narrow)):
            block = multiply(directions.narrow, self.vectors[rows])
            margin = error * float(self.norms[rows].max())
            queries, columns = find_promising(block, best.floors, best.k, margin)
            positions = columns + rows.start
            scores = compute_scores(self.vectors, positions, directions.wide, queries)
            best.offer(queries, positions + first, scores)

    def _blocks(self, num_queries: int) -> list[slice]:
        step = max(1, _BLOCK_SCORES // num_queries)
        return [slice(start, start + step) for start in range(0, len(self.vectors), step)]


class CosineSearch(ExactSearch):
    """The same by cosine: the dot product over both norms; 0 where a vector is (nearly) zero."""

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> SearchResult:
        """Find the k best train vectors for each query, by cosine; as the base class else."""
        return super().search(scale_to_unit(queries), k, side)

    def offer_best(self, directions: Directions, best: TopK, first: int = 0) -> None:
        """Offer the largest cosines of some hundreds of unit queries, as ``BatchSearch`` does."""
        error = rounding_error(self.vectors.shape[1])
        for rows in self._blocks(len(directions.narrow)):
            norms = self.norms[rows]
            norms = np.where(norms > NEGLIGIBLE_NORM, norms, np.inf)
            block = multiply(directions.narrow, self.vectors[rows])
            block /= norms.astype(np.float32)
            queries, columns = find_promising(block, best.floors, best.k, error)
            positions = columns + rows.start
            scores = compute_scores(self.vectors, positions, directions.wide, queries)
            best.offer(queries, positions + first, scores / norms[columns])


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


def search_in_batches(
    searcher: BatchSearch,
    queries: ArrayLike,
    k: int,
    side: Side,
    *,
    shape: tuple[int, int],
    at_once: int = _QUERIES_AT_ONCE,
) -> SearchResult:
    """Search for any number of queries, a few hundred at a time.

    Args:
        searcher: The index.
        queries: Shape ``(M, D)`` or ``(D,)``.
        k: Number of neighbours; at most ``N`` are returned.
        side: ``"proponents"`` (largest scores) or ``"opponents"`` (smallest).
        shape: ``(N, D)`` of the train vectors.
        at_once: Queries in a batch.

    Raises:
        RetrievalError: If the queries do not fit, hold NaN, or ``k`` or ``side`` is wrong.
    """
    matrix = as_queries(queries, shape[1])
    k, sign = validate_k_and_side(k, side, shape[0])
    largest = find_largest(matrix)
    # A zero query scores 0 with every train vector: a tie, which the lowest positions win.
    result = SearchResult(np.tile(np.arange(k), (len(matrix), 1)), np.zeros((len(matrix), k)))
    nonzero = np.flatnonzero(largest)
    for start in range(0, len(nonzero), at_once):
        batch = nonzero[start : start + at_once]
        directions, exponents = scale_queries(sign * matrix[batch], largest[batch])
        best = TopK(len(batch), k)
        searcher.offer_best(directions, best)
        result.indices[batch] = best.positions
        # Adding 0 turns -0.0 into 0.0.
        result.scores[batch] = sign * np.ldexp(best.scores, exponents[:, None]) + 0.0
    return result if np.ndim(queries) == 2 else SearchResult(result.indices[0], result.scores[0])


def validate_k_and_side(k: int, side: Side, rows: int) -> tuple[int, float]:
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


# Columns looked at to guess where a block's k-th score lies; a guess that is too low only
# costs time.
_SAMPLE = 2048
# More candidates than this many times k are thinned before they are scored exactly.
_CROWD = 8


class TopK:
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

    def view(self, part: slice) -> TopK:
        """Return those of some queries; what is offered to them is offered to these."""
        some = TopK(0, self.k)
        some.scores, some.positions = self.scores[part], self.positions[part]
        return some

    def offer(self, rows: Positions, positions: Positions, scores: Numbers) -> None:
        """Add candidates: the query, train position and score of each, shapes ``(n,)``.

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
        """Add candidates of a single query, in a third of the time; a person waits for it."""
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
    return prune_candidates(block, rows, columns, k, margin)


def find_kth_largest(scores: Matrix, k: int) -> Numbers:
    """Return the k-th largest of each row, shape ``(M,)``."""
    place = scores.shape[1] - k
    kth: Numbers = np.partition(scores, place, axis=1)[:, place].astype(np.float64)
    return kth


def prune_candidates(
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


class Direction(NamedTuple):
    """A single query of the same kind: shapes ``(D,)``, and its norm."""

    wide: Numbers
    narrow: Matrix
    length: float


def find_largest(queries: Numbers) -> Numbers:
    """Return the largest absolute number of each query.

    Args:
        queries: Shape ``(M, D)``.

    Returns:
        Shape ``(M,)``.

    Raises:
        RetrievalError: If a number is NaN or infinite.
    """
    largest: Numbers = np.abs(queries).max(axis=1)
    finite = np.isfinite(largest)
    if not finite.all():
        raise RetrievalError(
            f"Query {int(np.argmin(finite))} holds NaN or infinite numbers; expected finite "
            "ones. Look at the example and at the checkpoints it was scored with."
        )
    return largest


def scale_queries(queries: Numbers, largest: Numbers) -> tuple[Directions, Positions]:
    """Scale each query.

    Args:
        queries: Shape ``(M, D)``, none of them zero.
        largest: Their largest absolute numbers, shape ``(M,)``.

    Returns:
        The scaled queries, and the exponents of two that undo it, shape ``(M,)``.
    """
    _, first = np.frexp(largest)
    roughly = np.ldexp(queries, -first[:, None])
    _, second = np.frexp(np.linalg.norm(roughly, axis=1))
    wide = np.ldexp(roughly, -second[:, None])
    lengths = np.linalg.norm(wide, axis=1)
    return Directions(wide, wide.astype(np.float32), lengths), first + second


def scale_query(query: Numbers, largest: float) -> tuple[Direction, int]:
    """Scale a single query, in fewer steps.

    Args:
        query: Shape ``(D,)``, not zero.
        largest: Its largest absolute number.

    Returns:
        The scaled query, and the exponent of two that undoes it.
    """
    _, first = math.frexp(largest)
    roughly = np.ldexp(query, -first)
    mantissa, second = math.frexp(math.sqrt(roughly @ roughly))
    wide = np.ldexp(roughly, -second)
    return Direction(wide, wide.astype(np.float32), mantissa), first + second


# Numbers held in float64 at a time: 8 MB, which stays near the processor's cache.
_CHUNK_NUMBERS = 1 << 20


def as_vectors(vectors: ArrayLike) -> Matrix:
    """Return the train vectors as a float32 matrix; a memory-mapped one stays on disk.

    Args:
        vectors: Shape ``(N, D)``, ``N`` and ``D`` at least 1.

    Returns:
        Shape ``(N, D)``, row-contiguous; no copy where none is needed.

    Raises:
        RetrievalError: If the shape is another one or the type is not numeric.
    """
    matrix = np.asanyarray(vectors)
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiu":
        raise RetrievalError(
            f"Found train vectors of shape {matrix.shape} and type {matrix.dtype}; expected a "
            "matrix of numbers with one row for each train example. Score the run again."
        )
    return np.ascontiguousarray(matrix, dtype=np.float32)


def iterate_chunks(vectors: Matrix) -> Iterator[tuple[int, Matrix]]:
    """Yield ``(first position, rows)`` over the whole matrix, a few megabytes at a time."""
    rows = max(1, _CHUNK_NUMBERS // vectors.shape[1])
    for start in range(0, len(vectors), rows):
        yield start, vectors[start : start + rows]


def compute_norms(vectors: Matrix) -> Numbers:
    """Return the Euclidean norm of every row.

    In float64, because the square of a well fitted example's gradient underflows in float32.

    Args:
        vectors: Shape ``(N, D)``.

    Returns:
        Shape ``(N,)``.

    Raises:
        RetrievalError: If a row holds NaN or infinite numbers; the message names its position.
    """
    norms = np.empty(len(vectors))
    for start, rows in iterate_chunks(vectors):
        wide = rows.astype(np.float64)
        norms[start : start + len(rows)] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    finite = np.isfinite(norms)
    if not finite.all():
        raise RetrievalError(
            f"The vector at position {int(np.argmin(finite))} holds NaN or infinite numbers "
            f"({int((~finite).sum())} of {len(norms)} rows do); expected finite ones. Look at "
            "these examples and at the checkpoints (a diverged training?), then score again."
        )
    return norms


def compute_fingerprint(vectors: Matrix) -> str:
    """Return a hash of every byte and of the shape, so that one changed row is noticed."""
    digest = hashlib.sha256(repr(vectors.shape).encode())
    for _, rows in iterate_chunks(vectors):
        digest.update(np.ascontiguousarray(rows).view(np.uint8).data)
    return digest.hexdigest()


def compute_scores(vectors: Matrix, positions: Positions, queries: Numbers, rows: Any) -> Numbers:
    """Return exact dot products of chosen train vectors with chosen queries.

    In float64 and row by row, so that a score depends neither on how the search was cut into
    blocks nor on which index found the neighbour, and equal vectors have equal scores.

    Args:
        vectors: Train vectors, shape ``(N, D)``.
        positions: Positions in ``vectors``, shape ``(n,)``.
        queries: Shape ``(M, D)``.
        rows: For each position its query, shape ``(n,)``.

    Returns:
        Shape ``(n,)``.
    """
    step = max(1, _CHUNK_NUMBERS // vectors.shape[1])
    if len(positions) <= step:
        gathered = vectors[positions].astype(np.float64)
        products: Numbers = np.einsum("nd,nd->n", gathered, queries[rows])
        return products
    parts = [slice(start, start + step) for start in range(0, len(positions), step)]
    return np.concatenate(
        [compute_scores(vectors, positions[part], queries, rows[part]) for part in parts]
    )
