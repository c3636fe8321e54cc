"""Per-example gradients of PReLU's slopes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tracin_core.gradients.factored import Contribution, Dense
from tracin_core.gradients.rules.registry import gradient_rule


@gradient_rule(nn.PReLU)
def prelu_gradients(
    layer: nn.PReLU, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of the slopes, one for all channels or one for each.

    Args:
        layer: The layer.
        arguments: The input, shape ``(B, channels, ...)``.
        output_gradients: The same shape.
    """
    slopes = arguments[0].clamp_max(0) * output_gradients
    if layer.num_parameters == 1:
        summed = slopes.flatten(1).sum(1, keepdim=True)
    else:
        summed = slopes.reshape(*slopes.shape[:2], -1).sum(2)
    return {"weight": Dense(summed, layer.weight.shape)}
