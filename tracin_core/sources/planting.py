"""Make a share of the numbers wrong on purpose, to see how many are found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracin_core.errors import ConfigurationError

FACTOR = 10.0  # a slipped decimal point
# How an example was made wrong, as the truth file has it.
WAYS = ("", "label", "multiplied", "swapped")
NOT_PLANTED, FLIPPED, MULTIPLIED, SWAPPED = range(4)


def plant_values(
    values: npt.NDArray[np.float64], *, share: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """Return a copy of the numbers with a share of them wrong.

    About half of those are ten times as large or a tenth, the others swapped with each other.

    Args:
        values: True numbers, shape ``(N,)``; left as they are.
        share: Share to change, 0 to 1.
        seed: The same seed gives the same errors.

    Returns:
        Numbers and, for each, its way of being wrong (an index into ``WAYS``), both ``(N,)``.
        A number that multiplying or swapping would leave as it is stays right.

    Raises:
        ConfigurationError: If the share is not between 0 and 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(
            f"Found a share of planted errors of {share}, expected a number from 0 to 1. Pass for "
            "example 0.05 to change one number in twenty."
        )
    generator = np.random.default_rng(seed)
    planted = np.array(values, dtype=np.float64)
    chosen = generator.choice(len(planted), size=round(share * len(planted)), replace=False)
    half = len(chosen) // 4 * 2  # swapping takes pairs
    multiplied, swapped = chosen[half:], chosen[:half]
    factors = generator.choice([FACTOR, 1 / FACTOR], size=len(multiplied))
    planted[multiplied] = values[multiplied] * factors
    _swap(planted, values, swapped)
    ways = np.zeros(len(planted), dtype=np.int8)
    ways[multiplied], ways[swapped] = MULTIPLIED, SWAPPED
    ways[planted == values] = NOT_PLANTED
    return planted, ways


def _swap(
    planted: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.int64],
) -> None:
    """Pair each of the lower half with one of the upper half, so that no pair is of equals."""
    ordered = chosen[np.argsort(values[chosen], kind="stable")]
    low, high = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]
    planted[low], planted[high] = values[high], values[low]
