"""The targets and outputs of a batch: checked for a named loss, read as predictions and margins.

Targets ``(B, ...)`` that a loss would read as something else are refused on the CPU, batch by
batch, before any gradient. A model that cannot take the number type of its inputs says so with
both types named. What outputs say beside the loss (class, probabilities, margin) has shapes
``(B,)``, ``(B, K)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.capture.batching import Batch, is_labelled
from tracin_core.errors import GradientError
from tracin_core.gradients.nested import find_tensors
from tracin_core.gradients.precision import HALF
from tracin_core.losses import PROBABILITY_ROUNDING, Loss, get_logits

# What torch's losses leave out by default, and what other libraries mark such labels with.
IGNORED_LABELS = (-100, -1)
WAY_OUT = "or pass a callable loss: (outputs, targets) -> (B,)"


def refuse_missing(batch: Batch) -> None:
    """Refuse a batch of which some examples have no target.

    Raises:
        GradientError: If there are any; it names the first.
    """
    if batch.missing:
        raise GradientError(
            f"Example {_name(batch, batch.missing[0])} has no target, and others beside it have; "
            "the loss needs one of every example. Leave examples without a target out, or ask "
            'with explain="score", which needs none (influence, vectors, capture).'
        )


class TargetCheck:
    """Checks the targets of each batch for a loss of ours.

    Args:
        loss: Its name.

    Attributes:
        loss: The same.
    """

    def __init__(self, loss: str) -> None:
        self.loss = loss
        self._outputs: torch.Size | None = None

    def learn(self, outputs: Tensor) -> None:
        """Record the shape of what the model returned for a few examples."""
        self._outputs = outputs.shape

    def check(self, batch: Batch, *, needs_targets: bool) -> None:
        """Check a batch.

        Args:
            batch: On the CPU, or wherever the examples are.
            needs_targets: Whether the loss is what is differentiated.

        Raises:
            GradientError: If a target is missing, or the loss would read it as something else;
                a class index out of range would end the process on a GPU.
        """
        targets = batch.targets
        if not is_labelled(targets):
            if needs_targets:
                self._refuse_missing(batch)
            return
        if not isinstance(targets, Tensor):
            raise GradientError(
                f"The targets are a {type(targets).__name__}; the loss {self.loss!r} expected "
                f"one tensor. Put (input, target) with a single target each, {WAY_OUT}."
            )
        if self._outputs is None or not targets.numel():
            return
        if self.loss == "binary_cross_entropy":
            _check_shares(batch, targets)
        elif self.loss == "cross_entropy" and len(self._outputs) == 2:
            _check_classes(batch, targets, self._outputs[1])

    def _refuse_missing(self, batch: Batch) -> None:
        found = "no target"
        if batch.targets is not None:
            found = f"the target {_find_first(batch.targets)!r:.40}"
        raise GradientError(
            f"Example {_name(batch, 0)} has {found}; the loss {self.loss!r} expected a number "
            "or a tensor. Put (input, label) with classes numbered from 0, or ask with "
            'explain="score", which needs no target (influence, vectors, capture).'
        )


def check_labels(batch: Batch, labels: Tensor, num_classes: int) -> None:
    """Check that class indices are whole numbers within range.

    Args:
        batch: Whose they are.
        labels: One for each example.
        num_classes: Number of classes K.

    Raises:
        GradientError: If a label is not among ``0 .. K - 1``.
    """
    flat = labels.flatten()
    flat = flat if flat.is_floating_point() else flat.long()
    index = _find(flat != flat.floor()) if flat.is_floating_point() else None
    if index is not None:
        raise GradientError(
            f"Example {_name(batch, index)} has the target {flat[index].item():.6g}; the loss "
            f"'cross_entropy' expected a whole number from 0 to {num_classes - 1}, or the "
            f"probabilities of all {num_classes} classes, shape (B, {num_classes}). For a "
            "probability p of class 1 put [1 - p, p]; for a number to be predicted, take "
            "loss='mse'."
        )
    index = _find((flat < 0) | (flat >= num_classes))
    if index is None:
        return
    label = int(flat[index])
    advice = "Number the classes from 0, or build the model with as many outputs as classes."
    if label in IGNORED_LABELS:
        advice = (
            "Leave examples without a label out, or, where it marks those to be ignored, pass a "
            "callable: lambda outputs, targets: F.cross_entropy(outputs, targets, "
            f"ignore_index={label}, reduction='none')."
        )
    raise GradientError(
        f"Example {_name(batch, index)} has the label {label}; expected"
        f" 0 to {num_classes - 1}, because the model has {num_classes} outputs. {advice}"
    )


def _check_classes(batch: Batch, targets: Tensor, num_classes: int) -> None:
    if targets.numel() == batch.size:
        check_labels(batch, targets, num_classes)
        return
    if targets.shape != (batch.size, num_classes):
        raise GradientError(
            f"The targets have the shape {tuple(targets.shape)} for {batch.size} examples and a "
            f"model with {num_classes} outputs; the loss 'cross_entropy' expected class indices "
            f"(B,) or probabilities (B, {num_classes}). Reshape them, {WAY_OUT}."
        )
    if targets.is_floating_point():
        return
    ones = (targets == 1).sum(1)
    index = _find((ones != 1) | ((targets != 0).sum(1) != 1))
    if index is not None:
        raise GradientError(
            f"Example {_name(batch, index)} has the targets {targets[index].tolist()!s:.80}; the "
            "loss 'cross_entropy' expected a single one among zeros, or class indices. For "
            f"several labels at once take loss='binary_cross_entropy', {WAY_OUT}."
        )


def _check_shares(batch: Batch, targets: Tensor) -> None:
    outside = ~((targets >= 0) & (targets <= 1)).reshape(batch.size, -1)
    place = _find(outside.any(1))
    if place is None:
        return
    value = targets.reshape(batch.size, -1)[place][outside[place]][0].item()
    raise GradientError(
        f"Example {_name(batch, place)} has the target {value:.6g}; the loss "
        "'binary_cross_entropy' expected zeros and ones, or probabilities between them. Put 0 "
        "and 1 for the two classes (not -1 and 1, nor 1 and 2)."
    )


def _find(wrong: Tensor) -> int | None:
    """Return the first place that is true."""
    return int(wrong.long().argmax()) if bool(wrong.any()) else None


def _find_first(targets: Any) -> Any:
    if isinstance(targets, dict):
        return _find_first(next(iter(targets.values()), None))
    return _find_first(targets[0]) if isinstance(targets, tuple | list) and targets else targets


def _name(batch: Batch, place: int) -> int:
    return batch.offset + batch.start + place


@contextmanager
def explain_number_types(model: nn.Module, inputs: Any) -> Iterator[None]:
    """Explain what torch raises about number types while the model runs.

    Args:
        model: The model.
        inputs: What it is given.

    Raises:
        GradientError: In place of torch's ``RuntimeError`` about a type.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).partition("\n")[0]
        if "type" not in text:
            raise
        if _leaves_autocast(text, inputs, model):
            raise GradientError(
                f"The model raised {type(error).__name__} ({text}). Its weights and inputs are in "
                "full precision, so an autocast block inside it hands on half precision to a layer "
                "outside of the block; expected a model that runs by itself, because passes do not "
                "run under an autocast of the caller's. Convert what leaves the block, as in "
                "self.head(features.float()), or put the rest of forward into the block too."
            ) from error
        given, own = _list_types(find_tensors(inputs)), _list_types(model.parameters())
        raise GradientError(
            f"The model raised {type(error).__name__} ({text}). Inputs are {given}, its weights "
            f"{own}; expected the number type it was trained with. Convert the inputs in the data "
            "set: input.float() for numbers (NumPy's are float64 unless made otherwise), "
            "input.long() for what is looked up in a table."
        ) from error


def _leaves_autocast(text: str, inputs: Any, model: nn.Module) -> bool:
    """Return whether a message names half precision that neither inputs nor weights are in."""
    tensors = [*find_tensors(inputs), *model.parameters(), *model.buffers()]
    return any(name in text for name in ("BFloat16", "Half")) and not any(
        tensor.dtype in HALF for tensor in tensors
    )


def _list_types(tensors: Iterator[Tensor]) -> str:
    found = dict.fromkeys(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
    return " and ".join(found) or "none"


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
        main_output = get_logits(outputs).detach()
    except GradientError:
        main_output = torch.empty(0)
    if not main_output.dim() or len(main_output) != size or not main_output.numel():
        device = next((t.device for t in (main_output, targets) if isinstance(t, Tensor)), None)
        unknown = torch.full((size, 1), torch.nan, device=device)
        return _as_numbers(unknown, unknown[:, 0])
    logits = _flatten(main_output)
    no_margins = _nothing(logits)
    if logits.shape[1] == 1:
        return _as_numbers(logits, logits[:, 0])
    one_target_each = isinstance(targets, Tensor) and targets.numel() == size
    if main_output.dim() > 2 or not (targets is None or one_target_each):
        return _as_numbers(logits, no_margins)
    if targets is not None and (targets.is_floating_point() or targets.is_complex()):
        return _as_numbers(logits, logits[:, 0])
    # A model may return probabilities for a loss that takes them.
    sums_to_one = (logits.sum(1) - 1).abs() < PROBABILITY_ROUNDING
    is_probability = (sums_to_one & (logits >= 0).all(1)).unsqueeze(1)
    tiny = torch.finfo(logits.dtype).tiny
    logits = torch.where(is_probability, logits.clamp_min(tiny).log(), logits)
    predictions = _as_classes(logits, _read_labels(targets, logits))
    if targets is None:
        return predictions
    labels = targets.flatten().long()
    strange = labels >= logits.shape[1]
    ignored = [labels == label for label in IGNORED_LABELS]
    strange |= (labels < 0) & ~(ignored[0] | ignored[1])
    return Predictions(
        predictions.margins,
        predictions.predicted,
        predictions.given_probability,
        predictions.probabilities,
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
