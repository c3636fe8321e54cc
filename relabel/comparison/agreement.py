"""How far methods name the same proponents. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Proponents of each example that are held against each other.
TOP = 10


def measure_agreement(
    proponents: Sequence[Sequence[Sequence[int]]], top: int = TOP
) -> npt.NDArray[np.float64]:
    """Return the mean overlap of the first proponents of the same examples by each two methods.

    The overlap for an example is how many train examples both name, divided by how many the one
    that names more has. An example for which neither has a proponent does not count.

    Args:
        proponents: By method and example, positions of train examples, strongest first; for all
            methods of the same examples.
        top: So many of each count.

    Returns:
        Symmetric, 0 to 1, shape ``(A, A)`` for A methods; NaN where no example counts.
    """
    named = [[set(row[:top]) for row in of_method] for of_method in proponents]
    matrix = np.full((len(named), len(named)), np.nan)
    for one, left in enumerate(named):
        for other, right in enumerate(named[: one + 1]):
            overlaps = [
                len(a & b) / max(len(a), len(b)) for a, b in zip(left, right, strict=True) if a or b
            ]
            if overlaps:
                matrix[one, other] = matrix[other, one] = float(np.mean(overlaps))
    return matrix
