"""Sums over space of normalised inputs times gradients: what a normalisation's scale receives."""

from __future__ import annotations

import torch
from torch import Tensor

from tracin_core.gradients.precision import RUN

# Shorter runs would be mostly overhead.
SHORTEST_RUN = 64


def sum_centred(inputs: Tensor, deltas: Tensor, centres: Tensor) -> Tensor:
    """Return ``sum((inputs - centres) * deltas)`` over space, for each example and channel.

    On a processor torch's backward pass of BatchNorm goes over both once and holds nothing between:
    two fifths of the time of a difference, a product and a sum.

    Args:
        inputs: Shape ``(B, channels, ...)``, in single precision at least.
        deltas: The same shape and number type.
        centres: Shape ``(channels,)`` or ``(B, channels)``.

    Returns:
        Shape ``(B, channels)``.
    """
    size, channels = inputs.shape[:2]
    each = inputs[0, 0].numel() if inputs.numel() else 0
    run = _choose_run(each)
    if inputs.device.type != "cpu" or inputs.dtype != deltas.dtype or run is None:
        rows = centres.reshape(-1, channels, 1)
        return ((inputs.flatten(2) - rows) * deltas.flatten(2)).sum(2)
    # Every run of every example is a channel of its own, so that none is added up too long.
    runs = each // run
    centres = centres.to(inputs.dtype).expand(size, channels).unsqueeze(2)
    centres = centres.expand(size, channels, runs).reshape(-1)
    found = torch.ops.aten.native_batch_norm_backward(
        deltas.reshape(1, -1, run),
        inputs.reshape(1, -1, run),
        None,
        centres,
        torch.ones_like(centres),
        None,
        None,
        False,  # with the statistics given
        0.0,
        (False, True, False),
    )
    sums: Tensor = found[1].reshape(size, channels, runs)
    return sums[:, :, 0] if runs == 1 else sums.sum(2)


def _choose_run(each: int) -> int | None:
    """Return how many of a channel's numbers are added up at a time; ``None`` for no good way."""
    if each <= RUN:
        return each if each > 1 else None
    return next((run for run in range(RUN, SHORTEST_RUN - 1, -1) if each % run == 0), None)
