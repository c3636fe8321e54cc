"""What the columns of a table are like, measured on its train rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from tracin_core.examples.table_columns import CategoryColumn, NumberColumn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Values of a category that get an input of their own; the rarer ones share one.
MAX_VALUES = 64
# Numbers of a column kept for its quantiles; a level is met within 0.7% of the rows.
NUMBERS_SAMPLED = 5_000
# Of fewer numbers the quantiles would be single rows.
FEWEST_FOR_QUANTILES = 100
# Robust deviations from the median at which numbers count as far away. A column is heavy-tailed
# where what lies beyond makes its standard deviation a tenth larger: normal, uniform and
# exponential numbers stay below 1.04, log-normal ones reach 1.3.
FAR_AWAY = 5.0
HEAVY = 1.1
# Half the interquartile range of a normal distribution, in standard deviations, twice.
QUARTILES_OF_NORMAL = 1.349
# Scores at the knots: the quantiles of a normal distribution, as far out as 0.6% of the rows.
SCORES = tuple(number / 10 for number in range(-25, 26))


class NumberMeasures:
    """Mean, deviation and quantiles of numbers that come in chunks."""

    def __init__(self) -> None:
        """Begin without numbers."""
        import numpy as np

        self.count, self.mean, self.squares, self.has_missing = 0, 0.0, 0.0, False
        self._draw = np.random.default_rng(0)
        self._sample, self._keys = np.empty(0), np.empty(0)

    def add(self, values: Sequence[float | None]) -> None:
        """Take a chunk; None is a missing number.

        Mean and deviation are joined as in Chan et al. 1979. The quantiles are those of a sample:
        every number draws a key, and those with the smallest keys stay.
        """
        import numpy as np

        numbers = np.array([value for value in values if value is not None], dtype=np.float64)
        self.has_missing |= len(numbers) < len(values)
        if not len(numbers):
            return
        mean = float(numbers.mean())
        total, difference = self.count + len(numbers), mean - self.mean
        self.squares += float(np.square(numbers - mean).sum())
        self.squares += difference**2 * self.count * len(numbers) / total
        self.mean += difference * len(numbers) / total
        self.count = total
        self._sample = np.append(self._sample, numbers)
        self._keys = np.append(self._keys, self._draw.random(len(numbers)))
        if len(self._sample) > NUMBERS_SAMPLED:
            stays = np.argpartition(self._keys, NUMBERS_SAMPLED)[:NUMBERS_SAMPLED]
            self._sample, self._keys = self._sample[stays], self._keys[stays]

    def describe(self, name: str) -> NumberColumn:
        """Return how the column becomes an input."""
        std = math.sqrt(self.squares / self.count) if self.count else 0.0
        # A column that never varies says nothing, whatever it is divided by.
        usable = math.isfinite(std) and std > 1e-12 * max(abs(self.mean), 1e-300)
        knots, scores = self._choose_knots() if self._is_heavy(std, usable) else ((), ())
        return NumberColumn(
            name=name,
            mean=self.mean if math.isfinite(self.mean) else 0.0,
            std=std if usable else 1.0,
            has_missing=self.has_missing,
            knots=knots,
            scores=scores,
        )

    def _is_heavy(self, std: float, usable: bool) -> bool:
        """Tell whether a few numbers far away make most of the deviation."""
        if self.count < FEWEST_FOR_QUANTILES or not usable:
            return self.count >= FEWEST_FOR_QUANTILES and not math.isfinite(std)
        return std > HEAVY * float(cut_far_away(self._sample).std())

    def _choose_knots(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return quantiles and the normal distribution's, the mean where quantiles are equal."""
        import numpy as np

        normal = NormalDist()
        quantiles = np.quantile(self._sample, [normal.cdf(score) for score in SCORES])
        knots, places = np.unique(quantiles, return_inverse=True)
        scores = np.bincount(places, SCORES) / np.bincount(places)
        if len(knots) < 2:  # nearly all are the same
            return (), ()
        return tuple(knots.tolist()), tuple(scores.tolist())


def cut_far_away(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return numbers with those cut that lie ``FAR_AWAY`` robust deviations from the median.

    A robust deviation is the one that a normal distribution with these quartiles would have;
    where the quartiles are equal, mean and standard deviation stand in.

    Args:
        numbers: Finite, at least one, shape ``(N,)``.
    """
    import numpy as np

    low, middle, high = np.quantile(numbers, (0.25, 0.5, 0.75))
    reach = FAR_AWAY * float(high - low) / QUARTILES_OF_NORMAL
    if not reach:
        middle, reach = numbers.mean(), FAR_AWAY * float(numbers.std())
    return np.clip(numbers, middle - reach, middle + reach)


def choose_values(name: str, counts: Counter[str]) -> CategoryColumn:
    """Return a column with an input for each of its frequent values.

    Args:
        name: As in the table.
        counts: Rows of each value.
    """
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return CategoryColumn(name=name, values=tuple(ordered[:MAX_VALUES]))
