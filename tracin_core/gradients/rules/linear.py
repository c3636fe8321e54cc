"""Per-example gradients of Linear layers, over single vectors and over sequences."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tracin_core.gradients.factored import Contribution, Dense, Outer
from tracin_core.gradients.precision import add_wide, match_dtype, widen
from tracin_core.gradients.rules.registry import gradient_rule


@gradient_rule(nn.Linear, takes_half=True)
def linear_gradients(
    layer: nn.Linear, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the factors of a Linear layer's gradients.

    The gradient is ``delta a^T`` (paper arXiv:2002.08484v3, Appendix F), summed over the
    positions of a sequence.

    Args:
        layer: The layer, ``I`` to ``O``.
        arguments: The input, shape ``(B, ..., I)``.
        output_gradients: Shape ``(B, ..., O)``.

    Returns:
        ``weight`` as outer products and ``bias``, shape ``(B, O)``.
    """
    inputs = match_dtype(arguments[0], output_gradients)
    batch_size = len(inputs)
    deltas = output_gradients.reshape(batch_size, -1, layer.out_features)
    weight = Outer(deltas, inputs.reshape(batch_size, -1, layer.in_features), layer.weight.shape)
    gradients: dict[str, Contribution] = {"weight": weight}
    if layer.bias is not None:
        if deltas.shape[1] == 1:
            gradients["bias"] = Dense(widen(deltas[:, 0]), layer.bias.shape, weight.delta_norms)
        else:
            gradients["bias"] = Dense(add_wide(deltas, 1), layer.bias.shape)
    return gradients
