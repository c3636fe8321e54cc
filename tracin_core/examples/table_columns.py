"""How one column of a table becomes inputs of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracin_core.errors import ConfigurationError, InputError

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
        """Put a value's inputs into the column's places, which are zero.

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
        """Put a value's inputs into the column's places, which are zero."""
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
    """Make the column that ``describe_column`` described; older ones have no knots."""
    settings: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in described.items()
    }
    return CategoryColumn(**settings) if "values" in settings else NumberColumn(**settings)
