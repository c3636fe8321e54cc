"""Gradients of tables of rows (embeddings), which reach only the rows that were looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tracin_core.gradients.contributions import Contribution, take_squared_norms

if TYPE_CHECKING:
    from tracin_core.gradients.sketch import Sketch

# Sums over equal rows are taken in one slot for each row of the table while it has at most
# this many rows a look-up, and in sorted slots beyond: one slot costs about 0.4 ns to clear and
# square, sorting 40 ns a look-up (one processor core).
ROWS_PER_LOOKUP = 64


@dataclass(frozen=True)
class Rows(Contribution):
    """Every look-up brings a gradient of its own to its row.

    Attributes:
        indices: Rows looked up by each example, int64, shape ``(B, T)``.
        deltas: Gradient that each look-up brings to its row, shape ``(B, T, E)``.
        shape: Shape of the table, ``(V, E)``.
    """

    indices: Tensor
    deltas: Tensor
    shape: torch.Size

    def narrow(self, start: int, stop: int) -> Rows:
        """Return the same for the examples ``start`` to ``stop``."""
        return Rows(self.indices[start:stop], self.deltas[start:stop], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, V, E)``."""
        return _add_up(self.indices, self.deltas, self.shape[0])

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``.

        A row looked up twice must be summed before it is squared.
        """
        slots = find_slots(self.indices)
        return take_squared_norms(_add_up(slots, self.deltas, slots.shape[1]))

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        sketch.add_rows(name, self.indices, self.deltas)


@dataclass(frozen=True)
class Bags(Contribution):
    """All look-ups of an example share one gradient, each with its own weight.

    The gradient is an outer product, ``weights_by_row delta^T``, whose first factor is nearly
    all zeros.

    Attributes:
        indices: Rows looked up by each example, int64, shape ``(B, T)``.
        weights: Weight of each look-up, shape ``(B, T)``; 0 where there is none.
        deltas: Gradient at the bag's output, shape ``(B, E)``.
        shape: Shape of the table, ``(V, E)``.
    """

    indices: Tensor
    weights: Tensor
    deltas: Tensor
    shape: torch.Size

    def as_rows(self) -> Rows:
        """Return the same with every look-up's gradient written out."""
        deltas = self.weights.unsqueeze(2) * self.deltas.unsqueeze(1)
        return Rows(self.indices, deltas, self.shape)

    def narrow(self, start: int, stop: int) -> Bags:
        """Return the same for the examples ``start`` to ``stop``."""
        part = slice(start, stop)
        return Bags(self.indices[part], self.weights[part], self.deltas[part], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, V, E)``."""
        weights = self.weights.new_zeros(self.batch_size, self.shape[0])
        weights.scatter_add_(1, self.indices, self.weights)
        return weights.unsqueeze(2) * self.deltas.unsqueeze(1)

    def squared_norms(self) -> Tensor:
        """Return ``|weights_by_row|^2 |delta|^2``, shape ``(B,)``."""
        slots, width = self.indices, self.shape[0]
        if width > ROWS_PER_LOOKUP * slots.shape[1]:
            slots, width = find_slots(slots), slots.shape[1]
        by_row = self.weights.new_zeros(self.batch_size, width)
        by_row.scatter_add_(1, slots, self.weights)
        return take_squared_norms(by_row) * take_squared_norms(self.deltas)

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        sketch.add_bags(name, self.indices, self.weights, self.deltas)


def find_slots(indices: Tensor) -> Tensor:
    """Give the look-ups of an example that share a row one number below T.

    Sorting puts equal rows side by side, so the sums need T slots and not the table's V.

    Args:
        indices: Shape ``(B, T)``.

    Returns:
        Slots, int64, shape ``(B, T)``.
    """
    ordered, order = indices.sort(dim=1)
    slots = torch.zeros_like(indices)
    slots[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    return torch.empty_like(slots).scatter_(1, order, slots)


def _add_up(slots: Tensor, deltas: Tensor, width: int) -> Tensor:
    """Add deltas ``(B, T, E)`` up by slot, to ``(B, width, E)``."""
    batch_size, _, columns = deltas.shape
    firsts = torch.arange(batch_size, device=slots.device).unsqueeze(1) * width
    # Whole rows of a two-dimensional table are added side by side, several numbers at once;
    # along any other axis it is one number after the other, at ten times the time.
    places = (slots + firsts).reshape(-1, 1).expand(-1, columns)
    sums = deltas.new_zeros(batch_size * width, columns)
    sums.scatter_add_(0, places, deltas.reshape(-1, columns))
    return sums.reshape(batch_size, width, columns)
