"""What every search needs to know of its vectors: shape, finiteness, norms, fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracin_core.errors import RetrievalError

Matrix = NDArray[np.float32]
Numbers = NDArray[np.float64]
Positions = NDArray[np.int64]

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
