"""What a batch's outputs say beside the loss: predictions, probabilities, margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracin_core.errors import GradientError
from tracin_core.influence.losses import PROBABILITY_ROUNDING, Loss, get_logits
from tracin_core.influence.targets import IGNORED_LABELS


@dataclass(frozen=True)
class Predictions:
    """What a batch's outputs say, beside the loss. Shapes ``(B,)``; probabilities ``(B, K)``.

    Attributes:
        margins: Logit of the given label minus the best other logit.
        predicted: Predicted class, int64; the output itself for a regression; NaN where it is not
            known which class an output stands for.
        given_probability: Probability of the given label.
        probabilities: Softmax, or both classes of a binary model; the outputs of a regression.
        strange: Whether a label shows that the outputs are no classes, ``()``; ``None`` where
            that is known.
    """

    margins: Tensor
    predicted: Tensor
    given_probability: Tensor
    probabilities: Tensor
    strange: Tensor | None = None


@torch.no_grad()
def read_predictions(outputs: Any, targets: Any, loss: Loss, size: int) -> Predictions:
    """Read margins and probabilities off a batch's outputs.

    Outputs under a loss of one's own are classes where the targets are class indices, or where
    there are none; of other targets (numbers, several labels, tokens, parts) it is not known.

    Args:
        outputs: What the model returned.
        targets: Given labels, or ``None``.
        loss: Which tells a regression and a binary model from a classifier.
        size: Number of examples B.

    Returns:
        The predictions; NaN where there is no label, or no class at all.
    """
    if isinstance(loss, str):
        logits = _flatten(get_logits(outputs).detach())
        if loss == "mse" or (logits.shape[1] == 1 and loss == "cross_entropy"):
            return _as_numbers(logits, logits[:, 0])
        if loss == "binary_cross_entropy":
            if logits.shape[1] > 1:
                nothing = _nothing(logits)
                return Predictions(nothing, nothing, nothing, logits.sigmoid())
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return _as_classes(logits, _read_labels(targets, logits))
    return _read_of_own_loss(outputs, targets, size)


def _read_of_own_loss(outputs: Any, targets: Any, size: int) -> Predictions:
    try:
        found = get_logits(outputs).detach()
    except GradientError:
        found = torch.empty(0)
    if not found.dim() or len(found) != size or not found.numel():
        device = next((t.device for t in (found, targets) if isinstance(t, Tensor)), None)
        unknown = torch.full((size, 1), torch.nan, device=device)
        return _as_numbers(unknown, unknown[:, 0])
    logits = _flatten(found)
    nothing = _nothing(logits)
    if logits.shape[1] == 1:
        return _as_numbers(logits, logits[:, 0])
    one_each = isinstance(targets, Tensor) and targets.numel() == size
    if found.dim() > 2 or not (targets is None or one_each):
        return _as_numbers(logits, nothing)
    if targets is not None and (targets.is_floating_point() or targets.is_complex()):
        return _as_numbers(logits, logits[:, 0])
    # A model may return probabilities for a loss that takes them.
    sums_to_one = (logits.sum(1) - 1).abs() < PROBABILITY_ROUNDING
    is_share = (sums_to_one & (logits >= 0).all(1)).unsqueeze(1)
    tiny = torch.finfo(logits.dtype).tiny
    logits = torch.where(is_share, logits.clamp_min(tiny).log(), logits)
    says = _as_classes(logits, _read_labels(targets, logits))
    if targets is None:
        return says
    labels = targets.flatten().long()
    strange = labels >= logits.shape[1]
    ignored = [labels == label for label in IGNORED_LABELS]
    strange |= (labels < 0) & ~(ignored[0] | ignored[1])
    return Predictions(
        says.margins,
        says.predicted,
        says.given_probability,
        says.probabilities,
        strange.any(),
    )


def _as_numbers(values: Tensor, predicted: Tensor) -> Predictions:
    nothing = _nothing(values)
    return Predictions(nothing, predicted, nothing, values)


def _as_classes(logits: Tensor, labels: Tensor | None) -> Predictions:
    """Return predictions of classes; labels ``(B,)`` that are no class have no margin."""
    probabilities, predicted = logits.softmax(1), logits.argmax(1)
    nothing = _nothing(logits)
    if labels is None:
        return Predictions(nothing, predicted, nothing, probabilities)
    known = (labels >= 0) & (labels < logits.shape[1]) & (labels == labels.floor())
    places = torch.where(known, labels, torch.zeros_like(labels)).long().unsqueeze(1)
    own = logits.gather(1, places).squeeze(1)
    others = logits.scatter(1, places, -torch.inf).amax(1)
    given = probabilities.gather(1, places).squeeze(1)
    return Predictions(
        torch.where(known, own - others, nothing),
        predicted,
        torch.where(known, given, nothing),
        probabilities,
    )


def _read_labels(targets: Any, logits: Tensor) -> Tensor | None:
    """Return class indices ``(B,)`` of any number type, or ``None`` if targets are none."""
    if not isinstance(targets, Tensor):
        return None
    if targets.numel() == len(logits):
        labels = targets.flatten()
        return labels if labels.is_floating_point() else labels.long()
    if targets.shape == logits.shape and not targets.is_floating_point():
        return targets.long().argmax(1)
    return None


def _flatten(logits: Tensor) -> Tensor:
    return logits.unsqueeze(1) if logits.dim() == 1 else logits.flatten(1)


def _nothing(values: Tensor) -> Tensor:
    return values.new_full((len(values),), torch.nan)
