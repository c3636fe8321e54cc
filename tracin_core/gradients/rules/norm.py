"""Per-example gradients of the scale and shift of normalisation layers.

BatchNorm is covered in evaluation mode only, where it uses its running statistics and the
examples of a batch do not mix. Capture always puts the model in evaluation mode; a BatchNorm
that keeps no running statistics mixes examples even there and is refused by the planner.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tracin_core.gradients.factored import Contribution, Dense
from tracin_core.gradients.normalized import sum_centred
from tracin_core.gradients.rules.registry import gradient_rule


def refuse_replaced(layer: nn.Module) -> str | None:
    """Return that a layer has a ``forward`` set on itself, if so.

    It may scale the input, which a normalisation takes out again but for its epsilon: too little
    for a trial to tell. The operation that it calls covers it.
    """
    return "a forward was set on it" if "forward" in vars(layer) else None


@gradient_rule(nn.LayerNorm, refuses=refuse_replaced)
def layer_norm_gradients(
    layer: nn.LayerNorm, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of scale and shift, input ``(B, ..., *normalized_shape)``."""
    normalized = F.layer_norm(arguments[0], layer.normalized_shape, eps=layer.eps)
    return _over_positions(layer, normalized, output_gradients)


@gradient_rule(nn.RMSNorm, refuses=refuse_replaced)
def rms_norm_gradients(
    layer: nn.RMSNorm, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of the scale, input ``(B, ..., *normalized_shape)``."""
    normalized = F.rms_norm(arguments[0], layer.normalized_shape, eps=layer.eps)
    return _over_positions(layer, normalized, output_gradients)


@gradient_rule(nn.GroupNorm, refuses=refuse_replaced)
def group_norm_gradients(
    layer: nn.GroupNorm, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of scale and shift, input ``(B, channels, ...)``."""
    normalized = F.group_norm(arguments[0], layer.num_groups, eps=layer.eps)
    return _over_space(layer, normalized, output_gradients)


def _refuse_batch_norm(layer: nn.BatchNorm2d) -> str | None:
    if layer.training:
        return "BatchNorm in training mode mixes the examples of a batch"
    if layer.running_mean is None:
        return "BatchNorm without running statistics mixes the examples of a batch"
    return None


@gradient_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, refuses=_refuse_batch_norm)
def batch_norm_gradients(
    layer: nn.BatchNorm2d, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of scale and shift, input ``(B, channels, ...)``."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None and variance is not None  # noqa: S101, PT018 - or it is refused
    inputs = arguments[0]
    if inputs.dim() == 2:
        normalized = F.batch_norm(inputs, mean, variance, training=False, eps=layer.eps)
        return _over_space(layer, normalized, output_gradients)
    sums = sum_centred(inputs, output_gradients, mean)
    scale = sums * (variance + layer.eps).rsqrt()
    gradients: dict[str, Contribution] = {"weight": Dense(scale, layer.weight.shape)}
    if layer.bias is not None:
        gradients["bias"] = Dense(output_gradients.flatten(2).sum(2), layer.bias.shape)
    return gradients


@gradient_rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm_gradients(
    layer: nn.InstanceNorm2d, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of scale and shift, input ``(B, channels, ...)``."""
    normalized = F.instance_norm(
        arguments[0],
        layer.running_mean,
        layer.running_var,
        use_input_stats=not layer.track_running_stats,
        eps=layer.eps,
    )
    return _over_space(layer, normalized, output_gradients)


def _over_positions(
    layer: nn.LayerNorm | nn.RMSNorm, normalized: Tensor, output_gradients: Tensor
) -> dict[str, Contribution]:
    """Sum over the axes between the batch and ``normalized_shape``."""
    shape = (len(normalized), -1, *layer.normalized_shape)
    return _scale_and_shift(layer, normalized.reshape(shape), output_gradients.reshape(shape), 1)


def _over_space(
    layer: nn.Module, normalized: Tensor, output_gradients: Tensor
) -> dict[str, Contribution]:
    """Sum over the axes after the channels."""
    shape = (*normalized.shape[:2], -1)
    return _scale_and_shift(layer, normalized.reshape(shape), output_gradients.reshape(shape), 2)


def _scale_and_shift(
    layer: Any, normalized: Tensor, output_gradients: Tensor, axis: int
) -> dict[str, Contribution]:
    scale = (normalized * output_gradients).sum(axis)
    gradients: dict[str, Contribution] = {"weight": Dense(scale, layer.weight.shape)}
    if getattr(layer, "bias", None) is not None:
        gradients["bias"] = Dense(output_gradients.sum(axis), layer.bias.shape)
    return gradients
