"""From a table's row to the numbers a network takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from tracin_core.errors import ConfigurationError
from tracin_core.examples.column_measures import NumberMeasures, choose_values
from tracin_core.examples.records import Fields
from tracin_core.examples.table_columns import (
    Column,
    describe_column,
    make_column,
    name_value,
    read_number,
)

if TYPE_CHECKING:
    from torch import Tensor

ROWS_MEASURED = 4096  # rows whose numbers are in memory at a time


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

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as the network takes it."""
        return stored

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {"kind": "table", "columns": [describe_column(column) for column in self.columns]}

    @classmethod
    def from_json(cls, columns: Iterable[Mapping[str, Any]]) -> TableEncoder:
        """Make the encoder of the columns that ``to_json`` described."""
        return cls(columns=tuple(make_column(column) for column in columns))
