"""Where the examples of a batch are in a tensor: along an axis, in one of three orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tracin_core.gradients.blocks import Place, find_axis
from tracin_core.gradients.owners import (
    NOBODY,
    MarkedGradients,
    follows_examples,
    follows_positions,
)
from tracin_core.gradients.registry import UnsupportedUseError
from tracin_core.gradients.regroup import group_rows

Order = Literal["examples", "positions", "any"]


@dataclass(frozen=True)
class Layout:
    """One way that examples and positions may lie.

    Attributes:
        axis: The axis that holds the examples.
        order: Which of the two changes slower along it: all positions of one example lie
            together ("examples"), or one position of all examples ("positions"). "any": as
            ``owners`` say of this one batch.
        owners: The example of each row, where they lie in any order, shape ``(R,)``.
    """

    axis: int
    order: Order
    owners: Tensor | None = None

    def is_plain(self, rows: int, batch_size: int) -> bool:
        """Whether every example has one row, in its turn."""
        return rows == batch_size and self.order == "examples"

    def find_owners(self, rows: int, batch_size: int, device: torch.device) -> Tensor:
        """Return the example of each row, shape ``(R,)``; -1 for a row of nobody.

        Raises:
            UnsupportedUseError: If there are not as many rows of each example.
        """
        if self.owners is not None:
            return self.owners
        if rows % max(1, batch_size):
            raise UnsupportedUseError("the examples are not where they were")
        places = torch.arange(rows, device=device)
        if self.order == "positions":
            return places % max(1, batch_size)
        return places // max(1, rows // max(1, batch_size))

    def arrange(self, values: Tensor, batch_size: int) -> Tensor:
        """Return the values as ``(B, T, ...)``, the other axes in their order.

        Raises:
            UnsupportedUseError: If the axis is missing or holds no such number of examples.
        """
        if values.dim() <= self.axis:
            raise UnsupportedUseError("the examples are not where they were")
        front = values.movedim(self.axis, 0)
        if self.owners is not None:
            return group_rows(self.owners, batch_size).gather(front)
        if len(front) % max(1, batch_size):
            raise UnsupportedUseError("the examples are not where they were")
        rest = front.shape[1:]
        positions = len(front) // max(1, batch_size)
        if self.order == "examples":
            return front.reshape(batch_size, positions, *rest)
        return front.reshape(positions, batch_size, *rest).transpose(0, 1)


def find_layout(gradients: MarkedGradients, axes: Iterable[int]) -> Layout:
    """Find where the examples are, from what each example's objective gives.

    Args:
        gradients: At the result of an operation.
        axes: Axes that may hold the examples.

    Returns:
        The only layout in which every row belongs to one example.

    Raises:
        UnsupportedUseError: If there is none, or more than one.
    """
    candidates = list(axes)
    if gradients.batch_size == 1 and candidates:
        # All there is belongs to the one example.
        return Layout(candidates[0], "examples")
    fitting = []
    for axis in candidates:
        owners = gradients.find_owners(axis)
        if owners is None:
            continue
        # Where one example alone has gradients, its rows lie along any axis.
        seen = int((torch.bincount(owners[owners != NOBODY]) > 0).sum())
        if seen > 1 or len(candidates) == 1:
            fitting.append(_name_order(axis, owners, gradients.batch_size))
    if len(fitting) != 1:
        raise UnsupportedUseError(
            "the gradients do not tell where the examples are"
            if fitting
            else "a row belongs to several examples, or the examples are along another axis"
        )
    return fitting[0]


def name_layout(
    shape: Sequence[int], place: Place, axes: Iterable[int], batch_size: int
) -> Layout | None:
    """Name a place that the graph proves; ``None`` if it is none of the layouts.

    Args:
        shape: Shape of the tensor.
        place: Where the examples are in it.
        axes: Axes that may hold the examples.
        batch_size: Number of examples B.
    """
    axis = find_axis(shape, place, batch_size)
    if axis is None or axis.index not in axes or 1 not in (axis.outer, axis.inner):
        return None
    return Layout(axis.index, "examples" if axis.outer == 1 else "positions")


def _name_order(axis: int, owners: Tensor, batch_size: int) -> Layout:
    by_example = follows_examples(owners, batch_size)
    by_position = follows_positions(owners, batch_size)
    if by_example and (len(owners) == batch_size or not by_position):
        return Layout(axis, "examples")
    if by_position and not by_example:
        return Layout(axis, "positions")
    # Any order, or too few rows to tell one from another.
    return Layout(axis, "any", owners)
