"""Where the examples of a batch are in a tensor: along an axis, in one of three orders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

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
        holds_elsewhere: Whether it holds for every batch of this size whose rows move in the
            same ways.
    """

    axis: int
    order: Order
    owners: Tensor | None = None
    holds_elsewhere: bool = True

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
        seen = int(owners[owners != NOBODY].unique().numel())
        if seen > 1 or len(candidates) == 1:
            fitting.append(_name_order(axis, owners, seen, gradients.batch_size))
    if len(fitting) != 1:
        raise UnsupportedUseError(
            "the gradients do not tell where the examples are"
            if fitting
            else "a row belongs to several examples, or the examples are along another axis"
        )
    return fitting[0]


def _name_order(axis: int, owners: Tensor, seen: int, batch_size: int) -> Layout:
    # Rows of zeros fit any order: what few others say holds for this batch alone.
    holds = 2 * seen >= batch_size
    by_example = follows_examples(owners, batch_size)
    by_position = follows_positions(owners, batch_size)
    if by_example and (len(owners) == batch_size or not by_position):
        return Layout(axis, "examples", None, holds)
    if by_position and not by_example:
        return Layout(axis, "positions", None, holds)
    # Any order, or too few rows to tell one from another.
    return Layout(axis, "any", owners, False)
