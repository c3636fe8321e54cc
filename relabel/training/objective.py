"""The loss that a training minimises, and how good a network is by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from relabel.training.config import LossName
from tracin_core.errors import ConfigurationError
from tracin_core.losses import find_logits

# (outputs, targets) -> one loss for each example, shape (B,).
LossFunction = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Quality:
    """How good a network is on a data set.

    Attributes:
        loss: Mean loss.
        accuracy: Share of examples predicted right, 0 to 1; None for regression.
        r2: Share of the targets' variance that is explained; None for classification.
        rmse: Root of the mean squared error, in the unit of the targets the network is trained
            on; None for classification.
    """

    loss: float
    accuracy: float | None = None
    r2: float | None = None
    rmse: float | None = None


def choose_objective(
    loss: LossName, own: LossFunction | None = None, *, residual_bound: float | None = None
) -> LossFunction:
    """Return the function of a loss's name.

    Args:
        loss: Its name.
        own: The function, where the name is "custom".
        residual_bound: For "mse", as ``TrainingConfig`` has it.

    Raises:
        ConfigurationError: If it is "custom" and there is no function.
    """
    if own is not None:
        return own
    if loss == "custom":
        raise ConfigurationError(
            "Found a training with a loss of its own, but no function for it. Give the file of "
            "the network again, which brings its loss."
        )
    if residual_bound is not None:
        return partial(bounded_squared_error, bound=residual_bound)
    return _LOSSES[loss]


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return cross-entropies in nats; logits ``(B, K)``, class indices ``(B,)``."""
    return F.cross_entropy(read_outputs(outputs), targets, reduction="none")


def squared_error(outputs: Any, targets: Tensor) -> Tensor:
    """Return squared errors, averaged over the outputs of an example, shape ``(B,)``."""
    values = read_outputs(outputs)
    differences = values - targets.reshape(values.shape).to(values.dtype)
    return differences.reshape(len(values), -1).square().mean(1)


def bounded_squared_error(outputs: Any, targets: Tensor, *, bound: float) -> Tensor:
    """Return squared errors that grow as a straight line beyond a residual, shape ``(B,)``.

    Twice the loss of Huber 1964 (doi:10.1214/aoms/1177703732): up to the bound the value and the
    gradient are those of ``squared_error``, beyond it the gradient's size stays what it is there.
    """
    values = read_outputs(outputs)
    truth = targets.reshape(values.shape).to(values.dtype)
    losses = 2.0 * F.huber_loss(values, truth, reduction="none", delta=bound)
    return losses.reshape(len(values), -1).mean(1)


def binary_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Return cross-entropies in nats of one logit an example, shape ``(B,)``."""
    logits = read_outputs(outputs)
    truth = targets.reshape(logits.shape).to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return losses.reshape(len(logits), -1).mean(1)


_LOSSES: dict[str, LossFunction] = {
    "cross_entropy": cross_entropy,
    "mse": squared_error,
    "binary_cross_entropy": binary_cross_entropy,
}


def read_outputs(outputs: Any) -> Tensor:
    """Return the tensor in what a network returned: itself, ``logits``, or the first of several.

    Raises:
        ConfigurationError: If there is none.
    """
    tensor = find_logits(outputs)
    if tensor is None:
        raise ConfigurationError(
            f"The network returned {type(outputs).__name__}; expected a tensor, or something "
            "with `logits`. Return the outputs as one tensor, examples along the first axis."
        )
    return tensor


def judge(
    batches: Iterable[tuple[Any, Tensor]], objective: LossFunction, loss: LossName
) -> Quality:
    """Return how good outputs are.

    Args:
        batches: Pairs of outputs and targets, at least one example in all.
        objective: The loss function.
        loss: Its name, which tells a regression from a classification.
    """
    total, correct, count = 0.0, 0, 0
    is_regression = loss == "mse"
    seen: list[Tensor] = []
    squares = 0.0
    for outputs, targets in batches:
        total += objective(outputs, targets).sum().item()
        count += len(targets)
        values = read_outputs(outputs)
        if is_regression:
            truth = targets.reshape(values.shape).to(values.dtype)
            squares += float((values - truth).square().sum())
            seen.append(truth.flatten().cpu().double())
        else:
            correct += _count_right(values, targets)
    if not is_regression:
        return Quality(loss=total / count, accuracy=correct / count)
    truths = torch.cat(seen)
    spread = float((truths - truths.mean()).square().sum())
    # Targets that are all the same have no variance to explain.
    r2 = 1.0 - squares / spread if spread > 0 else 0.0
    return Quality(loss=total / count, r2=r2, rmse=(squares / len(truths)) ** 0.5)


def _count_right(logits: Tensor, targets: Tensor) -> int:
    if logits.dim() == 1 or logits.shape[1] == 1:
        predicted = (logits.flatten() > 0).to(targets.dtype)
    else:
        predicted = logits.argmax(dim=1)
    return int((predicted == targets).sum().item())
