"""Numbers whose decimal point slipped: up to a thousand times too large or too small."""

from __future__ import annotations

import math
from dataclasses import dataclass

FACTORS = (10, 100, 1000)
# The moved number must lie this much nearer to the prediction than the given one does, and within
# this factor of it. Near zero a number that is divided comes near to any small prediction.
NEARER, WITHIN = 5.0, 1.5


@dataclass(frozen=True)
class Slip:
    """A number with its decimal point moved.

    Attributes:
        value: The moved number.
        words: How it was moved: "×10", "÷100".
    """

    value: float
    words: str


def find_slip(given: float | None, predicted: float | None) -> Slip | None:
    """Return the given number with its point moved, where that comes near to the prediction.

    Args:
        given: The number that the data claims.
        predicted: What a model says in its place, best one that has not seen the example.
    """
    if not given or not predicted or not math.isfinite(given) or not math.isfinite(predicted):
        return None
    moved = [Slip(given / factor, f"÷{factor}") for factor in FACTORS]
    moved += [Slip(given * factor, f"×{factor}") for factor in FACTORS]
    best = min(moved, key=lambda one: abs(one.value - predicted))
    if not math.isfinite(best.value) or not 1 / WITHIN <= best.value / predicted <= WITHIN:
        return None
    is_nearer = NEARER * abs(best.value - predicted) <= abs(given - predicted)
    return best if is_nearer else None
