"""Where the examples of a batch are in a tensor: along an axis, alone or folded with positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tracin_core.gradients.agreement import TRIAL_EXAMPLE, TRIAL_SIZE
from tracin_core.gradients.registry import UnsupportedUseError


@dataclass(frozen=True)
class Layout:
    """One way that examples and positions may lie.

    Attributes:
        axis: The axis that holds the examples.
        order: Which of the two changes slower along it: all positions of one example lie
            together ("examples"), or one position of all examples ("positions").
    """

    axis: int
    order: Literal["examples", "positions"]

    def arrange(self, values: Tensor, batch_size: int) -> Tensor:
        """Return the values as ``(B, T, ...)``, the other axes in their order.

        Raises:
            UnsupportedUseError: If the axis is missing or holds no such number of examples.
        """
        if values.dim() <= self.axis or values.shape[self.axis] % max(1, batch_size):
            raise UnsupportedUseError("the examples are not where they were in the trial")
        front = values.movedim(self.axis, 0)
        rest = front.shape[1:]
        if self.order == "examples":
            return front.reshape(batch_size, len(front) // max(1, batch_size), *rest)
        positions = len(front) // max(1, batch_size)
        return front.reshape(positions, batch_size, *rest).transpose(0, 1)


def find_layout(gradients: Tensor, axes: Iterable[int]) -> Layout:
    """Find where the examples are, from the gradients that one example's objective gives.

    Args:
        gradients: At the result of an operation over the trial's examples, when only the
            objective of the trial example is differentiated.
        axes: Axes that may hold the examples.

    Returns:
        The only layout in which nothing reaches the other examples.

    Raises:
        UnsupportedUseError: If there is none, or more than one.
    """
    found = []
    for axis in axes:
        size = gradients.shape[axis]
        if size % TRIAL_SIZE or not size:
            continue
        found += [Layout(axis, "examples")]
        found += [Layout(axis, "positions")] if size > TRIAL_SIZE else []
    fitting = [layout for layout in found if _is_alone(layout.arrange(gradients, TRIAL_SIZE))]
    if len(fitting) != 1:
        raise UnsupportedUseError(
            "the gradients do not tell where the examples are"
            if fitting
            else "the examples are not along one axis"
        )
    return fitting[0]


def _is_alone(arranged: Tensor) -> bool:
    """Whether the trial example has gradients, and no other."""
    reached = [bool(row.any()) for row in arranged]
    return reached == [index == TRIAL_EXAMPLE for index in range(TRIAL_SIZE)]
