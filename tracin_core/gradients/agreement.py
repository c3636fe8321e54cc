"""Whether two ways to the gradient of an example gave the same numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Examples of a trial: each is differentiated alone, and has neighbours that it must not reach.
TRIAL_SIZE = 3

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


class ReferenceGradients:
    """What autograd says of one trial example.

    Args:
        truths: Its gradient for each parameter, by name.
    """

    def __init__(self, truths: Mapping[str, Tensor]) -> None:
        self._truths = truths
        sizes = [float(truth.abs().max()) for truth in truths.values() if truth.numel()]
        self._largest = max(sizes, default=0.0)

    def agrees_with(self, name: str, found: Tensor) -> bool:
        """Whether ``found``, of the parameter's shape, is the example's gradient."""
        expected = self._truths[name]
        if found.shape != expected.shape:
            return False
        if not found.numel():
            return True
        kind = expected.dtype
        own = TOLERANCES.get(kind, LOOSE_TOLERANCE) * float(expected.abs().max())
        rounding = ROUNDING.get(kind, LOOSE_ROUNDING) * self._largest
        return bool(((found - expected).abs() <= max(own, rounding)).all())

    def is_zero(self, name: str) -> bool:
        """Whether nothing reaches the parameter from the example."""
        return not bool(self._truths[name].any())
