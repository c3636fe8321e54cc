"""Whether targets are what a named loss reads; looked at batch by batch, on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracin_core.errors import GradientError
from tracin_core.influence.batches import Batch, is_labelled

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
        """Note what the model returned for a few examples."""
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
    place = _find(flat != flat.floor()) if flat.is_floating_point() else None
    if place is not None:
        raise GradientError(
            f"Example {_name(batch, place)} has the target {flat[place].item():.6g}; the loss "
            f"'cross_entropy' expected a whole number from 0 to {num_classes - 1}, or the "
            f"probabilities of all {num_classes} classes, shape (B, {num_classes}). For a "
            "probability p of class 1 put [1 - p, p]; for a number to be predicted, take "
            "loss='mse'."
        )
    place = _find((flat < 0) | (flat >= num_classes))
    if place is None:
        return
    label = int(flat[place])
    advice = "Number the classes from 0, or build the model with as many outputs as classes."
    if label in IGNORED_LABELS:
        advice = (
            "Leave examples without a label out, or, where it marks those to be ignored, pass a "
            "callable: lambda outputs, targets: F.cross_entropy(outputs, targets, "
            f"ignore_index={label}, reduction='none')."
        )
    raise GradientError(
        f"Example {_name(batch, place)} has the label {label}; expected"
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
    place = _find((ones != 1) | ((targets != 0).sum(1) != 1))
    if place is not None:
        raise GradientError(
            f"Example {_name(batch, place)} has the targets {targets[place].tolist()!s:.80}; the "
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
