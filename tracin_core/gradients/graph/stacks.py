"""Per-example gradients of stacked matrices, of which each row of an input meets one (experts)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tracin_core.gradients.factored import Contribution
from tracin_core.gradients.precision import multiply_wide


@dataclass(frozen=True)
class StackedOuter(Contribution):
    """Sums of outer products, each in one matrix of a stack.

    Attributes:
        deltas: First factors, shape ``(B, T, R)``; zero where an example has fewer than T.
        inputs: Second factors, shape ``(B, T, C)``.
        matrices: Which matrix each product belongs to, int64, shape ``(B, T)``.
        shape: Shape of the stack, ``(E, R, C)``.
    """

    deltas: Tensor
    inputs: Tensor
    matrices: Tensor
    shape: torch.Size

    @property
    def is_factored(self) -> bool:
        """Whether ``T x T`` Gram matrices need less work than the gradients."""
        positions, (_, rows, columns) = self.deltas.shape[1], self.shape
        return positions * (rows + columns) < self.shape[0] * rows * columns

    def transpose(self) -> StackedOuter:
        """Return the gradients of the transposed matrices."""
        stack, rows, columns = self.shape
        shape = torch.Size((stack, columns, rows))
        return StackedOuter(self.inputs, self.deltas, self.matrices, shape)

    def narrow(self, start: int, stop: int) -> StackedOuter:
        """Return the same for the examples ``start`` to ``stop``."""
        part = slice(start, stop)
        return StackedOuter(self.deltas[part], self.inputs[part], self.matrices[part], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, E, R, C)``."""
        parts = []
        for matrix in range(self.shape[0]):
            own = (self.matrices == matrix).unsqueeze(2)
            parts.append(multiply_wide((self.deltas * own).mT, self.inputs))
        return torch.stack(parts, dim=1)

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``, the cheaper way."""
        if not self.is_factored:
            return super().squared_norms()
        grams = multiply_wide(self.deltas, self.deltas.mT)
        grams = grams * multiply_wide(self.inputs, self.inputs.mT)
        # Different matrices have nothing in common.
        same = self.matrices.unsqueeze(2) == self.matrices.unsqueeze(1)
        # Rounding can make a Gram product negative, which a squared norm is not.
        return (grams * same).sum((1, 2)).clamp_min(0)
