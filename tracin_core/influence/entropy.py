"""Softmax cross-entropy and its gradient in closed form, at full precision.

In float32, ``softmax - onehot`` of a confidently right example is exactly zero, because
``1 - p`` rounds to zero. Written as a sum of the other classes' probabilities it is not.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

# With fewer classes, softmax over the first of two axes is five times as fast on a processor as
# over the last, transposing included; with more it is slower.
FEW_CLASSES = 16


class ClassEntropy(torch.autograd.Function):
    """Cross-entropy of class indices, in nats; one node in the gradient graph.

    ``apply(logits, labels)`` takes logits ``(B, K)`` and int64 labels ``(B, 1)``. It returns
    the losses ``(B,)``, and the gradients at the logits ``(B, K)``, which have no gradient
    themselves.
    """

    keeps_rows = True  # for gradients/movement.py: the loss of each row is its own

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        columns, axis = _turn(logits)
        own_class = labels.t() if axis == 0 else labels
        shifted = columns - columns.amax(axis, keepdim=True)
        # Not softmax, which takes five times as long on a processor where classes are few.
        weights = shifted.exp()
        totals = weights.sum(axis, keepdim=True)
        own = weights.gather(axis, own_class)
        weights = weights.scatter(axis, own_class, 0.0)
        others = weights.sum(axis, keepdim=True)
        deltas = weights.scatter(axis, own_class, -others) / totals
        # -log(own / totals), by the form that keeps its digits: others may be tiny beside own,
        # and own may be too small to divide by.
        losses = torch.where(
            others < own,
            (others / own).log1p(),
            totals.log() - shifted.gather(axis, own_class),
        )
        return losses.squeeze(axis), deltas.t() if axis == 0 else deltas

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:  # noqa: D102
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (deltas,) = ctx.saved_tensors
        return gradients[0].unsqueeze(1) * deltas, None


# Found once: autograd looks a signature up at every call, at the cost of the whole loss.
ClassEntropy.forward.__signature__ = inspect.signature(ClassEntropy.forward)  # type: ignore[attr-defined]


@torch.no_grad()
def differentiate_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``p - onehot(y)`` at full precision, shape ``(B, K)``.

    Probabilities keep their digits however small they are, and so does their sum over the other
    classes, which stands for ``1 - p``.

    Args:
        logits: Shape ``(B, K)``.
        labels: Class indices, as many as rows.
    """
    columns, axis = _turn(logits)
    own = labels.reshape(1, -1) if axis == 0 else labels.reshape(-1, 1)
    own = own.long()
    probabilities = columns.softmax(axis)
    others = probabilities.scatter_(axis, own, 0.0).sum(axis, keepdim=True)
    deltas = probabilities.scatter_(axis, own, others.neg_())
    return deltas.t() if axis == 0 else deltas


def _turn(logits: Tensor) -> tuple[Tensor, int]:
    """Return the logits as they are computed with, and the axis of the classes.

    With few classes everything runs along the examples, which lie side by side: along the classes
    the same steps take up to five times as long on a processor.
    """
    if logits.shape[1] < FEW_CLASSES:
        return logits.t().contiguous(), 0
    return logits, 1
