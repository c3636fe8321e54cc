"""Rows of a table, encoded as the numbers that a network takes, column by column.

Each column is measured on the train rows: how a number is scaled, which values a category has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

from relabel.features.records import Fields
from tracin_core.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


# Standard deviations from the mean beyond which numbers are cut: one cell with a slipped decimal
# point would otherwise be larger than all others together.
LARGEST_DEVIATION = 10.0


@dataclass(frozen=True, kw_only=True)
class NumberColumn:
    """A column of numbers.

    Where most numbers are crowded together beside a few large ones, mean and deviation say
    little, and the column has knots: a number then counts as its place among the train rows.

    Attributes:
        name: As in the table.
        mean: Of the train rows, subtracted; a missing number counts as the mean.
        std: Standard deviation of the train rows, divided by.
        has_missing: Whether an input says that the number is missing, because some were.
        knots: Quantiles of the train rows, ascending, at least two; empty where the numbers are
            standardised. A missing number counts as the median then.
        scores: The input at each knot, straight lines in between, and the outermost ones beyond.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0
    has_missing: bool = False
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        is_rising = all(low < high for low, high in zip(self.knots, self.knots[1:], strict=False))
        if len(self.knots) != len(self.scores) or len(self.knots) == 1 or not is_rising:
            raise ConfigurationError(
                f"Found {len(self.knots)} knots and {len(self.scores)} scores for the column "
                f"{self.name!r}, expected none or at least two of both, the knots ascending. "
                "Train the project again."
            )

    @property
    def num_inputs(self) -> int:
        """Return how many inputs the column becomes."""
        return 2 if self.has_missing else 1

    def write(self, value: float | str | None, inputs: Any) -> None:
        """Write a value's inputs into the column's places, which are zero.

        Raises:
            InputError: If it is no number.
        """
        number = read_number(value, self.name)
        if number is None:
            if self.has_missing:
                inputs[1] = 1.0
            return
        inputs[0] = self._place(number) if self.knots else self._standardise(number)

    def _standardise(self, number: float) -> float:
        deviation = (number - self.mean) / self.std
        return min(max(deviation, -LARGEST_DEVIATION), LARGEST_DEVIATION)

    def _place(self, number: float) -> float:
        import numpy as np

        return float(np.interp(number, self.knots, self.scores))


@dataclass(frozen=True, kw_only=True)
class CategoryColumn:
    """A column of words from a small choice.

    Attributes:
        name: As in the table.
        values: Those with an input of their own; all others, and missing ones, share the last.
    """

    name: str
    values: tuple[str, ...] = ()
    _places: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {value: i for i, value in enumerate(self.values)})

    @property
    def num_inputs(self) -> int:
        """Return how many inputs the column becomes."""
        return len(self.values) + 1

    def write(self, value: float | str | None, inputs: Any) -> None:
        """Write a value's inputs into the column's places, which are zero."""
        inputs[self._places.get(name_value(value), len(self.values))] = 1.0


Column = NumberColumn | CategoryColumn


def read_number(value: float | str | None, name: str) -> float | None:
    """Return a cell's number; None where it is missing or not finite.

    Raises:
        InputError: If it is something else.
    """
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except ValueError as error:
        raise InputError(
            f"The column {name!r} holds {value!r:.80}, expected a number. Correct the cell, or "
            "import the column as a category."
        ) from error
    return number if math.isfinite(number) else None


def name_value(value: float | str | None) -> str:
    """Return a category's value as a text: 3 and 3.0 are the same."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def describe_column(column: Column) -> dict[str, Any]:
    """Return what ``make_column`` makes an equal column of."""
    if isinstance(column, CategoryColumn):
        return {"name": column.name, "values": list(column.values)}
    described: dict[str, Any] = {
        "name": column.name,
        "mean": column.mean,
        "std": column.std,
        "has_missing": column.has_missing,
    }
    if column.knots:
        described |= {"knots": list(column.knots), "scores": list(column.scores)}
    return described


def make_column(described: Mapping[str, Any]) -> Column:
    """Return the column that ``describe_column`` described; older ones have no knots."""
    settings: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in described.items()
    }
    return CategoryColumn(**settings) if "values" in settings else NumberColumn(**settings)


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
        """Add a chunk; None is a missing number.

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
        """Return whether a few numbers far away make most of the deviation."""
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


ROWS_MEASURED = 4096  # rows whose numbers are in memory at a time


@dataclass(frozen=True, kw_only=True)
class TableEncoder:
    """How a table's row becomes numbers.

    Attributes:
        columns: In the table's order.
    """

    # Examples that are written at a time, and between two reports.
    rows_at_once: ClassVar[int] = 512

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise ConfigurationError(
                "Found a table without columns to learn from, expected at least one beside the "
                "label. Import it again with more columns."
            )

    @classmethod
    def fit(cls, rows: Iterable[Fields], columns: Sequence[Mapping[str, Any]]) -> TableEncoder:
        """Measure the train rows.

        Args:
            rows: Train rows, read once.
            columns: Of each column its ``name`` and its ``kind``, "number" or "category".

        Raises:
            InputError: If a column of numbers holds something else.
        """
        numbers = {c["name"]: NumberMeasures() for c in columns if c["kind"] == "number"}
        values: dict[str, Counter[str]] = {
            c["name"]: Counter() for c in columns if c["kind"] != "number"
        }
        iterator = iter(rows)
        while chunk := list(islice(iterator, ROWS_MEASURED)):
            for name, moments in numbers.items():
                moments.add([read_number(row.get(name), name) for row in chunk])
            for name, counter in values.items():
                counter.update(
                    name_value(row.get(name)) for row in chunk if row.get(name) is not None
                )
        return cls(
            columns=tuple(
                numbers[c["name"]].describe(c["name"])
                if c["kind"] == "number"
                else choose_values(c["name"], values[c["name"]])
                for c in columns
            )
        )

    @property
    def num_inputs(self) -> int:
        """Return how many numbers a row becomes."""
        return sum(column.num_inputs for column in self.columns)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape of what ``read`` returns."""
        return (self.num_inputs,)

    @property
    def stored_type(self) -> str:
        """Return the number type of what ``read`` returns, as NumPy names it."""
        return "float32"

    def encode(self, row: Fields) -> Tensor:
        """Return a row as a tensor, float32, shape ``(num_inputs,)``.

        Raises:
            InputError: If a number is none.
        """
        import torch

        return self.to_inputs(torch.from_numpy(self.read(row)))

    def read(self, row: Fields) -> Any:
        """Return a row as it is stored, float32, shape ``(num_inputs,)``.

        Raises:
            InputError: If a number is none.
        """
        import numpy as np

        inputs = np.zeros(self.num_inputs, dtype=np.float32)
        start = 0
        for column in self.columns:
            stop = start + column.num_inputs
            column.write(row.get(column.name), inputs[start:stop])
            start = stop
        return inputs

    def read_many(self, rows: Sequence[Fields]) -> Any:
        """Return several rows as ``read`` returns each, shape ``(B, *stored_shape)``.

        Raises:
            InputError: If one cannot be read.
        """
        import numpy as np

        return np.stack([self.read(row) for row in rows])

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as the network takes it."""
        return stored

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {"kind": "table", "columns": [describe_column(column) for column in self.columns]}

    def cache_identity(self) -> dict[str, Any]:
        """Return what decides what ``read`` returns."""
        return self.to_json()

    @classmethod
    def from_json(cls, columns: Iterable[Mapping[str, Any]]) -> TableEncoder:
        """Return the encoder of the columns that ``to_json`` described."""
        return cls(columns=tuple(make_column(column) for column in columns))
