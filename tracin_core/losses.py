"""Per-example losses, and scores whose gradients survive a confident model.

Losses by name or callable return ``(B,)``, in nats for the entropies. ``ClassEntropy`` is softmax
cross-entropy with its gradient in closed form, at full precision: in float32, ``softmax - onehot``
of a confidently right example is exactly zero, because ``1 - p`` rounds to zero. Written as a sum
of the other classes' probabilities it is not.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.gradients.precision import HALF

LossFunction = Callable[[Any, Any], Tensor]
Loss = Literal["cross_entropy", "mse", "binary_cross_entropy"] | LossFunction


def choose_loss(loss: Loss) -> LossFunction:
    """Return the loss function of a name, or a checked callable.

    Raises:
        ConfigurationError: If the name is unknown.
    """
    if callable(loss):
        return _checked(loss)
    if loss in _NAMED:
        return _NAMED[loss]
    raise ConfigurationError(
        f"Found loss {loss!r}; expected one of {', '.join(_NAMED)}, or a callable that takes "
        "(outputs, targets) and returns one loss for each example, shape (B,)."
    )


def _checked(loss: LossFunction) -> LossFunction:
    def one_per_example(outputs: Any, targets: Any) -> Tensor:
        losses = loss(outputs, targets)
        if isinstance(losses, Tensor) and losses.dim() == 1 and losses.is_floating_point():
            return losses
        raise ConfigurationError(
            f"The loss returned {_describe(losses)}; expected one number for each example, "
            f"a tensor of shape (B,). {_advise(losses)}"
        )

    return one_per_example


def _describe(losses: Any) -> str:
    if not isinstance(losses, Tensor):
        return f"a {type(losses).__name__}"
    if losses.dim() != 1:
        return "a single number, shape ()" if not losses.dim() else f"shape {tuple(losses.shape)}"
    return f"numbers of type {str(losses.dtype).removeprefix('torch.')}"


def _advise(losses: Any) -> str:
    if isinstance(losses, tuple | list | dict):
        return "Return the tensor of losses alone."
    if not isinstance(losses, Tensor):
        return "Return a tensor that was computed from the outputs, without .item() or .numpy()."
    if losses.dim() == 1:
        return "Return the loss itself, not a count of mistakes or a predicted class."
    if not losses.dim():
        return "Use reduction='none', and take no mean or sum over the batch."
    if losses[0].numel() == 1:
        return "Write .flatten() or .squeeze(1)."
    return "Use reduction='none' and sum over every axis but the first: .flatten(1).sum(1)."


def find_logits(outputs: Any) -> Tensor | None:
    """Return the tensor in what a model returned: itself, ``logits``, or the first of several."""
    if isinstance(outputs, Tensor):
        return outputs
    found = getattr(outputs, "logits", None)
    if found is None and isinstance(outputs, dict):
        found = outputs.get("logits")
    if found is None and isinstance(outputs, tuple | list) and outputs:
        found = outputs[0]
    return found if isinstance(found, Tensor) else None


def get_logits(outputs: Any) -> Tensor:
    """Return the tensor to score from what a model returned, in single precision at least.

    Args:
        outputs: A tensor, something with ``logits`` (as ``transformers`` models return), a
            dict with "logits", or a tuple that begins with a tensor.

    Returns:
        The tensor, shape ``(B, ...)``.

    Raises:
        GradientError: If there is none.
    """
    found = find_logits(outputs)
    if found is not None:
        return found.float() if found.dtype in HALF else found
    raise GradientError(
        f"The model returned {type(outputs).__name__}; expected a tensor, or something with "
        "`logits`. Wrap the model so that it returns its logits, or pass a callable loss."
    )


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's cross-entropy in nats.

    Args:
        outputs: Logits ``(B, K)``.
        targets: Class indices ``(B,)``, or probabilities ``(B, K)``; whole numbers of that shape
            are a single one among zeros.

    Returns:
        Shape ``(B,)``.
    """
    logits = get_logits(outputs)
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise _shape_error("cross_entropy", logits, "(B, K) with two or more classes")
    if targets.shape == logits.shape:
        if targets.is_floating_point():
            return -(targets * F.log_softmax(logits, dim=1)).sum(1)
        targets = targets.long().argmax(1)
    labels = targets.reshape(len(logits), 1).long()
    losses: Tensor = ClassEntropy.apply(logits, labels)[0]
    return losses


def mse(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's squared error, averaged over its outputs, shape ``(B,)``.

    Args:
        outputs: Shape ``(B,)`` or ``(B, ...)``.
        targets: As many numbers for each example.
    """
    logits = get_logits(outputs)
    truth = _like(logits, targets, "mse")
    values = logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)
    return (values - truth).square().mean(1)


def binary_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's binary cross-entropy in nats, averaged over its outputs.

    Args:
        outputs: Logits ``(B,)``, ``(B, 1)``, or ``(B, K)`` for K independent labels.
        targets: Zeros and ones, as many for each example.

    Returns:
        Shape ``(B,)``.
    """
    logits = get_logits(outputs)
    truth = _like(logits, targets, "binary_cross_entropy")
    logits = logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)
    # softplus of both signs, not of (1 - p): neither is lost when the other is near one.
    return (truth * F.softplus(-logits) + (1 - truth) * F.softplus(logits)).mean(1)


_NAMED: dict[str, LossFunction] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "binary_cross_entropy": binary_cross_entropy,
}


def negative_score(outputs: Any, targets: Any = None) -> Tensor:
    """Return minus the predicted class's logit (minus the output itself for one number).

    Minus, so that positive influence raises the score: a proponent of a score moves it up
    where a proponent of a loss moves it down.

    Args:
        outputs: Logits ``(B, K)``, or ``(B,)``, ``(B, 1)``.
        targets: Not read; a score needs no label.

    Returns:
        Shape ``(B,)``.
    """
    logits = get_logits(outputs)
    logits = logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)
    return -logits.max(dim=1).values


def negative_binary_score(outputs: Any, targets: Any = None) -> Tensor:
    """Return minus the logit of the predicted one of two classes, ``-|z|``, shape ``(B,)``."""
    logits = get_logits(outputs)
    return -(logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)).abs().mean(1)


SCORES = (negative_score, negative_binary_score)

# What single precision leaves of a sum that is one.
PROBABILITY_ROUNDING = 1e-4

# Operations that change no number, but for those outside of a range.
PASSING = (
    *("View", "Squeeze", "Unsqueeze", "Reshape", "Select", "Slice", "Transpose", "Permute"),
    *("T", "Expand", "Clone", "ToCopy", "Clamp", "Alias", "UnsafeView"),
)


def warn_of_probabilities(outputs: Tensor, loss: str) -> None:
    """Warn where what should be logits are probabilities already.

    A softmax of a softmax is a loss that nobody trains with on purpose, and its gradients are
    small however wrong a prediction is. Three outputs between 0 and 1 may be logits; so a sigmoid
    is looked for in the gradient graph.

    Args:
        outputs: Of a few examples, with their graph, shape ``(B, ...)``.
        loss: The name of the loss.
    """
    values = outputs.detach()
    are_shares = bool(((values >= 0) & (values <= 1)).all())
    if loss == "cross_entropy" and values.dim() == 2 and values.shape[1] > 1:
        sums_to_one = ((values.sum(1) - 1).abs() < PROBABILITY_ROUNDING).all()
        if are_shares and bool(sums_to_one):
            _warn("that sum to one", loss, "softmax")
    if loss == "binary_cross_entropy" and are_shares:
        made_by = _find_last_operation(outputs)
        if made_by in ("Sigmoid", "Softmax"):
            _warn("between 0 and 1", loss, made_by.lower())


def _find_last_operation(outputs: Tensor) -> str:
    """Return the name of the operation that made a tensor, such as "Sigmoid"."""
    node: Any = outputs.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0].lstrip("_")
        if name not in PASSING or not node.next_functions:
            return str(name)
        node = node.next_functions[0][0]
    return ""


def _warn(which: str, loss: str, made_by: str) -> None:
    warnings.warn(
        f"The model returns probabilities {which}; the loss {loss!r} expected "
        f"logits. Leave the {made_by} out of the model, or pass a callable loss that takes "
        "probabilities: (outputs, targets) -> (B,).",
        RuntimeWarning,
        stacklevel=3,
    )


# With fewer classes, softmax over the first of two axes is five times as fast on a processor as
# over the last, transposing included; with more it is slower.
FEW_CLASSES = 16


class ClassEntropy(torch.autograd.Function):
    """Cross-entropy of class indices, in nats; one node in the gradient graph.

    ``apply(logits, labels)`` takes logits ``(B, K)`` and int64 labels ``(B, 1)``. It returns
    the losses ``(B,)``, and the gradients at the logits ``(B, K)``, which have no gradient
    themselves.
    """

    keeps_rows = True  # for tracin_core/gradients/graph/survey.py: the loss of each row is its own

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


def _like(outputs: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Return the targets of outputs ``(B,)`` or ``(B, ...)`` in their number type, ``(B, n)``."""
    shapes = [[size for size in tensor.shape[1:] if size > 1] for tensor in (outputs, targets)]
    # Numbers laid out otherwise would be taken for one another without a word.
    turned = min(map(len, shapes)) > 1 and shapes[0] != shapes[1]
    if targets.numel() != outputs.numel() or turned:
        raise _shape_error(loss, outputs, f"as many numbers as targets, {tuple(targets.shape)}")
    return targets.reshape(len(outputs), -1).to(outputs.dtype)


def _shape_error(loss: str, logits: Tensor, expected: str) -> GradientError:
    return GradientError(
        f"The model returned shape {tuple(logits.shape)}; the loss {loss!r} expected {expected}. "
        "Choose the loss that fits the model, or pass a callable (outputs, targets) -> (B,)."
    )
