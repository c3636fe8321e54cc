"""The last layer of a classifier from a forward pass alone.

Under softmax cross-entropy the gradient at the logits is ``p - onehot(y)``. Where the logits
are what a Linear layer returned, its gradient is ``(p - onehot(y)) a^T``, and nothing has to be
differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.gradients.capture import CapturedPass, CoveredLayer, Objective
from tracin_core.gradients.contributions import Contribution, Dense, Outer
from tracin_core.gradients.plan import Plan
from tracin_core.gradients.precision import widen
from tracin_core.gradients.structure import call_model
from tracin_core.influence.batches import Batch
from tracin_core.influence.chain import Chain, ChainWeights
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
    if not _has_class_indices(batch):
        return None
    calls: list[tuple[Any, Any, int]] = []
    handle = head.layer.register_forward_hook(
        lambda _, args, output: calls.append((args, output, output._version))
    )
    try:
        returned = [call_model(model, part.inputs) for part in parts]
    finally:
        handle.remove()
    logits = [get_logits(outputs) for outputs in returned]
    if len(calls) != len(logits):
        return None
    for own, (args, output, version) in zip(logits, calls, strict=True):
        # A change in place keeps the tensor and makes its numbers others than the layer's.
        if output is not own or output._version != version or own.dim() != 2 or not args:
            return None
    features = _join([args[0] for args, _, _ in calls])
    return HeadPasses(head, features, _join(logits), batch.targets).take(0)


@torch.no_grad()
def capture_chain(
    chain: Chain, weights: ChainWeights, head: CoveredLayer, batch: Batch, parts: Sequence[Batch]
) -> list[CapturedPass] | None:
    """Do the same at several checkpoints at once, where the model is a plain chain.

    Args:
        chain: The model.
        weights: Of the checkpoints.
        head: The last layer.
        batch: Examples, on the device.
        parts: The same examples as they go through the model.

    Returns:
        A pass for each checkpoint; ``None`` as in ``capture_head``.
    """
    if not _has_class_indices(batch) or not isinstance(batch.inputs, Tensor):
        return None
    outputs = []
    for part in parts:
        output = chain.run(weights, part.inputs)
        if output is None:
            return None
        outputs.append(output)
    features = _join([output.features for output in outputs], axis=1)
    logits = get_logits(_join([output.logits for output in outputs], axis=1))
    passes = HeadPasses(head, features.flatten(0, 1), logits.flatten(0, 1), batch.targets)
    return [passes.take(index) for index in range(weights.count)]


class HeadPasses:
    """Passes of the same B examples at C checkpoints, whose arithmetic is done once for all.

    Args:
        head: The last layer.
        features: What it took, shape ``(C * B, I)``.
        logits: What it returned, shape ``(C * B, K)``.
        labels: Class indices of the B examples.
    """

    def __init__(
        self, head: CoveredLayer, features: Tensor, logits: Tensor, labels: Tensor
    ) -> None:
        self._head, self._logits, self._labels = head, logits, labels.flatten()
        count = len(logits) // max(1, len(self._labels))
        deltas = differentiate_cross_entropy(logits, self._labels.repeat(count))
        shape = torch.Size((logits.shape[1], features.shape[1]))
        self._whole = WholeHead(deltas.unsqueeze(1), widen(features).unsqueeze(1), shape)

    def take(self, index: int) -> CapturedPass:
        """Return the pass at one checkpoint."""
        size = len(self._labels)
        start, stop = index * size, (index + 1) * size
        logits = self._logits[start:stop]
        factors = self._whole.narrow(start, stop)
        found: dict[str, Contribution] = {
            "weight": factors,
            "bias": Dense(factors.deltas[:, 0], factors.shape[:1], factors.delta_norms),
        }
        gradients = {name: [found[local]] for local, name in self._head.parameters.items()}
        return CapturedPass(logits, lambda: cross_entropy(logits, self._labels), gradients)


class WholeHead(Outer):
    """The head's gradients at all checkpoints; norms are taken for all rows when one is asked."""

    @cached_property
    def norms(self) -> Tensor:
        """Squared norms of the weight's gradients, shape ``(C * B,)``."""
        return super().squared_norms()

    def narrow(self, start: int, stop: int) -> HeadRows:
        """Return some rows, which share the norms."""
        deltas, inputs = self.deltas[start:stop], self.inputs[start:stop]
        return HeadRows(deltas, inputs, self.shape, self, start)


@dataclass(frozen=True)
class HeadRows(Outer):
    """Some rows of the head's gradients.

    Attributes:
        whole: What they are part of.
        first: Where they begin in it.
    """

    whole: WholeHead
    first: int

    def delta_norms(self) -> Tensor:
        """Return the squared norm of each example's ``deltas``, shape ``(B,)``."""
        return self.whole.delta_norms()[self.first : self.first + self.batch_size]

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``."""
        return self.whole.norms[self.first : self.first + self.batch_size]


def _has_class_indices(batch: Batch) -> bool:
    labels = batch.targets
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return False
    return len(labels) == labels.numel()


def _join(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=axis)
