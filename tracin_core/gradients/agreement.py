"""Whether two ways to one gradient gave the same numbers, on three trial examples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Which of the three trial examples is differentiated: one with neighbours on both sides.
TRIAL_SIZE, TRIAL_EXAMPLE = 3, 1

# Largest disagreement of a rule with autograd, relative to the gradient's largest entry.
# Rounding stays below 1e-4 in float32 (1e-2 with half precision or TF32), also where a float64
# model computes a norm in float32 inside; the mistakes this is to catch are of order one.
TOLERANCES = {torch.float64: 1e-4, torch.float32: 2e-3}
LOOSE_TOLERANCE = 5e-2

# The same relative to the largest entry over all parameters: what rounding may leave of a
# gradient that is zero, as that of the bias of attention's keys is (it moves all scores of a
# softmax alike). Summands as large as the largest gradient cancel to their last digits, 1e-16
# or 1e-7 of them. In float32 this would also pass a wrong gradient of a parameter whose own are
# that small, so plans are tried in float64 wherever the model runs in it.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}
LOOSE_ROUNDING = 5e-4


class TrialGradients:
    """What autograd says of the trial example.

    Args:
        truths: Its gradient for each parameter, by name.
    """

    def __init__(self, truths: Mapping[str, Tensor]) -> None:
        self._truths = truths
        sizes = [float(truth.abs().max()) for truth in truths.values() if truth.numel()]
        self._largest = max(sizes, default=0.0)

    def agrees_with_row(self, name: str, found: Tensor) -> bool:
        """Whether ``found``, of the parameter's shape, is the trial example's gradient."""
        return self._is_close(name, found, self._truths[name])

    def agrees_with(self, name: str, found: Tensor) -> bool:
        """Whether ``found`` ``(3, *shape)`` is that gradient, and zero for the other two."""
        truth = self._truths[name]
        expected = truth.new_zeros(TRIAL_SIZE, *truth.shape)
        expected[TRIAL_EXAMPLE] = truth
        return self._is_close(name, found, expected)

    def is_zero(self, name: str) -> bool:
        """Whether nothing reaches the parameter from the trial example."""
        return not bool(self._truths[name].any())

    def _is_close(self, name: str, found: Tensor, expected: Tensor) -> bool:
        if found.shape != expected.shape:
            return False
        if not found.numel():
            return True
        kind = expected.dtype
        own = TOLERANCES.get(kind, LOOSE_TOLERANCE) * float(self._truths[name].abs().max())
        rounding = ROUNDING.get(kind, LOOSE_ROUNDING) * self._largest
        return bool(((found - expected).abs() <= max(own, rounding)).all())
