"""Queries scaled by powers of two into the range of float32, and back."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions


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


def scale(queries: Numbers, largest: Numbers) -> tuple[Directions, Positions]:
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


def scale_one(query: Numbers, largest: float) -> tuple[Direction, int]:
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
