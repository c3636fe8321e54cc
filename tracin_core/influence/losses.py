"""Per-example losses and scores whose gradients survive a confident model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.gradients.precision import HALF
from tracin_core.influence.entropy import ClassEntropy

# What single precision leaves of a sum that is one.
PROBABILITY_ROUNDING = 1e-4

LossFunction = Callable[[Any, Any], Tensor]
Loss = Literal["cross_entropy", "mse", "binary_cross_entropy"] | LossFunction


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
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in HALF else outputs
    found = getattr(outputs, "logits", None)
    if found is None and isinstance(outputs, dict):
        found = outputs.get("logits")
    if found is None and isinstance(outputs, tuple | list) and outputs:
        found = outputs[0]
    if isinstance(found, Tensor):
        return get_logits(found)
    raise GradientError(
        f"The model returned {type(outputs).__name__}; expected a tensor, or something with "
        "`logits`. Wrap the model so that it returns its logits, or pass a callable loss."
    )


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's cross-entropy in nats.

    Args:
        outputs: Logits ``(B, K)``.
        targets: Class indices ``(B,)``, or probabilities ``(B, K)``.

    Returns:
        Shape ``(B,)``.
    """
    logits = get_logits(outputs)
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise _shape_error("cross_entropy", logits, "(B, K) with two or more classes")
    if targets.is_floating_point() and targets.shape == logits.shape:
        return -(targets * F.log_softmax(logits, dim=1)).sum(1)
    labels = targets.reshape(len(logits), 1).long()
    losses: Tensor = ClassEntropy.apply(logits, labels)[0]
    return losses


def mse(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's squared error, averaged over its outputs, shape ``(B,)``.

    Args:
        outputs: Shape ``(B,)`` or ``(B, ...)``.
        targets: As many numbers for each example.
    """
    values = get_logits(outputs).flatten(1) if get_logits(outputs).dim() > 1 else None
    values = get_logits(outputs).unsqueeze(1) if values is None else values
    return (values - _like(values, targets, "mse")).square().mean(1)


def binary_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return each example's binary cross-entropy in nats, averaged over its outputs.

    Args:
        outputs: Logits ``(B,)``, ``(B, 1)``, or ``(B, K)`` for K independent labels.
        targets: Zeros and ones, as many for each example.

    Returns:
        Shape ``(B,)``.
    """
    logits = get_logits(outputs)
    logits = logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)
    truth = _like(logits, targets, "binary_cross_entropy")
    # softplus of both signs, not of (1 - p): neither is lost when the other is near one.
    return (truth * F.softplus(-logits) + (1 - truth) * F.softplus(logits)).mean(1)


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


_NAMED: dict[str, LossFunction] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "binary_cross_entropy": binary_cross_entropy,
}


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


@dataclass(frozen=True)
class Predictions:
    """What a batch's outputs say, beside the loss. Shapes ``(B,)``; probabilities ``(B, K)``.

    Attributes:
        margins: Logit of the given label minus the best other logit.
        predicted: Predicted class; the output itself for a regression.
        given_probability: Probability of the given label.
        probabilities: Softmax, or both classes of a binary model; the outputs of a regression.
    """

    margins: Tensor
    predicted: Tensor
    given_probability: Tensor
    probabilities: Tensor


@torch.no_grad()
def read_predictions(outputs: Any, targets: Any, loss: Loss) -> Predictions:
    """Read margins and probabilities off a batch's outputs.

    Args:
        outputs: What the model returned.
        targets: Given labels, or ``None``.
        loss: Which tells a regression and a binary model from a classifier.

    Returns:
        The predictions; NaN where there is no label, or no class at all.
    """
    logits = get_logits(outputs).detach()
    logits = logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)
    missing = logits.new_full((len(logits),), torch.nan)
    single = logits.shape[1] == 1
    if loss == "mse" or (single and loss != "binary_cross_entropy"):
        return Predictions(missing, logits[:, 0], missing, logits)
    if loss == "binary_cross_entropy":
        if not single:
            return Predictions(missing, missing, missing, logits.sigmoid())
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    probabilities = logits.softmax(1)
    predicted = logits.argmax(1)
    if not _is_label(targets, len(logits)):
        return Predictions(missing, predicted, missing, probabilities)
    labels = targets.reshape(-1, 1).long()
    own = logits.gather(1, labels).squeeze(1)
    best_other = logits.masked_fill(_is_class(labels, logits), -torch.inf).amax(1)
    given = probabilities.gather(1, labels).squeeze(1)
    return Predictions(own - best_other, predicted, given, probabilities)


def warn_of_probabilities(outputs: Tensor) -> None:
    """Warn where what should be logits are probabilities already.

    A softmax of a softmax is a loss that nobody trains with on purpose, and its gradients are
    small however wrong a prediction is.

    Args:
        outputs: Of a few examples, shape ``(B, K)``.
    """
    sums_to_one = ((outputs.sum(1) - 1).abs() < PROBABILITY_ROUNDING).all()
    if outputs.shape[1] > 1 and bool(sums_to_one & (outputs >= 0).all()):
        warnings.warn(
            "The model returns probabilities that sum to one; the loss 'cross_entropy' expected "
            "logits. Leave the softmax out of the model, or pass a callable loss that takes "
            "probabilities: (outputs, targets) -> (B,).",
            RuntimeWarning,
            stacklevel=2,
        )


def _is_label(targets: Any, size: int) -> bool:
    return isinstance(targets, Tensor) and targets.numel() == size


def _is_class(labels: Tensor, logits: Tensor) -> Tensor:
    return torch.arange(logits.shape[1], device=logits.device) == labels


def _like(values: Tensor, targets: Tensor, loss: str) -> Tensor:
    if targets.numel() != values.numel():
        raise _shape_error(loss, values, f"as many numbers as targets, {tuple(targets.shape)}")
    return targets.reshape(values.shape).to(values.dtype)


def _shape_error(loss: str, logits: Tensor, expected: str) -> GradientError:
    return GradientError(
        f"The model returned shape {tuple(logits.shape)}; the loss {loss!r} expected {expected}. "
        "Choose the loss that fits the model, or pass a callable (outputs, targets) -> (B,)."
    )
