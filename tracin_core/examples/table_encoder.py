"""From a table's row to the numbers a network takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from tracin_core.errors import ConfigurationError, InputError
from tracin_core.examples.records import Fields

if TYPE_CHECKING:
    from torch import Tensor

# Values of a category that get an input of their own; the rarer ones share one.
MAX_VALUES = 64
# Standard deviations from the mean beyond which numbers are cut: one cell with a slipped decimal
# point would otherwise be larger than all others together.
LARGEST_DEVIATION = 10.0
ROWS_MEASURED = 4096  # rows whose numbers are in memory at a time


@dataclass(frozen=True, kw_only=True)
class NumberColumn:
    """A column of numbers.

    Attributes:
        name: As in the table.
        mean: Of the train rows, subtracted; a missing number counts as the mean.
        std: Standard deviation of the train rows, divided by.
        has_missing: Whether an input says that the number is missing, because some were.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0
    has_missing: bool = False

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
        deviation = (number - self.mean) / self.std
        inputs[0] = min(max(deviation, -LARGEST_DEVIATION), LARGEST_DEVIATION)


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


@dataclass(frozen=True, kw_only=True)
class TableEncoder:
    """How a table's row becomes numbers.

    Attributes:
        columns: In the table's order.
    """

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
        numbers = {c["name"]: _Moments() for c in columns if c["kind"] == "number"}
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
                else _choose_values(c["name"], values[c["name"]])
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

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as the network takes it."""
        return stored

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {"kind": "table", "columns": [_describe(column) for column in self.columns]}

    @classmethod
    def from_json(cls, columns: Iterable[Mapping[str, Any]]) -> TableEncoder:
        """Make the encoder of the columns that ``to_json`` described."""
        return cls(columns=tuple(_make_column(dict(column)) for column in columns))


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


class _Moments:
    """Mean and deviation of numbers that come in chunks (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares, self.has_missing = 0, 0.0, 0.0, False

    def add(self, values: Sequence[float | None]) -> None:
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

    def describe(self, name: str) -> NumberColumn:
        std = math.sqrt(self.squares / self.count) if self.count else 0.0
        # A column that never varies says nothing, whatever it is divided by.
        usable = math.isfinite(std) and std > 1e-12 * max(abs(self.mean), 1e-300)
        return NumberColumn(
            name=name,
            mean=self.mean,
            std=std if usable else 1.0,
            has_missing=self.has_missing,
        )


def _choose_values(name: str, counts: Counter[str]) -> CategoryColumn:
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return CategoryColumn(name=name, values=tuple(ordered[:MAX_VALUES]))


def _describe(column: Column) -> dict[str, Any]:
    if isinstance(column, CategoryColumn):
        return {"name": column.name, "values": list(column.values)}
    return {
        "name": column.name,
        "mean": column.mean,
        "std": column.std,
        "has_missing": column.has_missing,
    }


def _make_column(settings: dict[str, Any]) -> Column:
    if "values" in settings:
        return CategoryColumn(name=settings["name"], values=tuple(settings["values"]))
    return NumberColumn(**settings)
