"""The last layer of a classifier from a forward pass alone.

Under softmax cross-entropy the gradient at the logits is ``p - onehot(y)``. Where the logits
are what a Linear layer returned, its gradient is ``(p - onehot(y)) a^T``, and nothing has to be
differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.gradients.capture import CapturedPass, CoveredLayer, Objective
from tracin_core.gradients.contributions import Contribution, Dense, Outer
from tracin_core.gradients.plan import Plan
from tracin_core.gradients.structure import call_model
from tracin_core.influence.batches import Batch
from tracin_core.influence.entropy import differentiate_cross_entropy
from tracin_core.influence.losses import cross_entropy, get_logits


def mark_head(model: nn.Module, plan: Plan, objective: Objective, trial: Batch) -> Plan:
    """Return the plan with its ``head``, if a forward pass is seen to be enough.

    Args:
        model: In evaluation mode, with the weights of interest in place.
        plan: A confirmed plan.
        objective: What is differentiated.
        trial: A few examples.
    """
    if objective is not cross_entropy or plan.fallback or plan.known or len(plan.layers) != 1:
        return plan
    head = plan.layers[0]
    if type(head.layer) is not nn.Linear or capture_head(model, head, trial, [trial]) is None:
        return plan
    return replace(plan, head=head)


@torch.no_grad()
def capture_head(
    model: nn.Module, head: CoveredLayer, batch: Batch, parts: Sequence[Batch]
) -> CapturedPass | None:
    """Run forward passes and write the head's gradients down, for all of them at once.

    Args:
        model: In evaluation mode, with the weights of interest in place.
        head: The layer.
        batch: Examples, on the device.
        parts: The same examples as they go through the model.

    Returns:
        What ``capture_pass`` returns; ``None`` if the logits are not simply the head's output,
        or the targets are not class indices.
    """
    labels = batch.targets
    if (
        not isinstance(labels, Tensor)
        or labels.is_floating_point()
        or len(labels) != labels.numel()
    ):
        return None
    calls: list[tuple[Any, Any]] = []
    handle = head.layer.register_forward_hook(lambda _, args, output: calls.append((args, output)))
    try:
        returned = [call_model(model, part.inputs) for part in parts]
    finally:
        handle.remove()
    logits = [get_logits(outputs) for outputs in returned]
    if len(calls) != len(logits):
        return None
    for own, (args, output) in zip(logits, calls, strict=True):
        if output is not own or own.dim() != 2 or not args:
            return None
    joined, features = _join(logits), _join([args[0] for args, _ in calls])
    deltas = differentiate_cross_entropy(joined, labels)
    shape = torch.Size((joined.shape[1], features.shape[1]))
    factors = Outer(deltas.unsqueeze(1), features.unsqueeze(1), shape)
    found: dict[str, Contribution] = {
        "weight": factors,
        "bias": Dense(deltas, shape[:1], factors.delta_norms),
    }
    gradients = {name: [found[local]] for local, name in head.parameters.items()}
    return CapturedPass(joined, lambda: cross_entropy(joined, labels), gradients)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
