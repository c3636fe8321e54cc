"""One epoch of stochastic gradient descent, and how good the network is after it."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracin_core.errors import ConfigurationError
from tracin_core.training.batches import mix_seed, ordered_batches, shuffled_batches
from tracin_core.training.config import TrainingConfig


def run_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_set: Any,
    config: TrainingConfig,
    *,
    epoch: int,
    device: torch.device,
) -> float:
    """Visit every train example once.

    Args:
        model: Changed in place.
        optimizer: Over the model's parameters; its rate is set at every step.
        train_set: Map-style, of ``(input, class index)``.
        config: Batch size, learning rates, seed.
        epoch: 1-based number; with the seed it decides order and dropout.
        device: Where the model is.

    Returns:
        The learning rate of the last step.

    Raises:
        ConfigurationError: If the loss becomes infinite or NaN.
    """
    steps = math.ceil(len(train_set) / config.batch_size)
    torch.manual_seed(mix_seed(config.seed, -epoch))  # dropout; the caller keeps the old state
    model.train()
    rate = config.learning_rate
    batches = shuffled_batches(train_set, config.batch_size, seed=config.seed, epoch=epoch)
    for number, (inputs, targets) in enumerate(batches, start=(epoch - 1) * steps):
        rate = config.rate_at(number, steps * config.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = F.cross_entropy(model(to_device(inputs, device)), targets.to(device))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise _diverged(loss.item(), epoch, number + 1, config)
    return rate


@torch.no_grad()
def evaluate(model: nn.Module, dataset: Any, device: torch.device) -> tuple[float, float]:
    """Return mean cross-entropy (nats) and accuracy (0 to 1) in evaluation mode."""
    model.eval()
    loss, correct = 0.0, 0
    for inputs, targets in ordered_batches(dataset):
        logits = model(to_device(inputs, device))
        targets = targets.to(device)
        loss += F.cross_entropy(logits, targets, reduction="sum").item()
        correct += int((logits.argmax(dim=1) == targets).sum().item())
    return loss / len(dataset), correct / len(dataset)


def check_finite(loss: float, epoch: int, step: int, config: TrainingConfig) -> None:
    """Refuse to go on from weights that have run away in the last step of an epoch."""
    if not math.isfinite(loss):
        raise _diverged(loss, epoch, step, config)


def to_device(inputs: Any, device: torch.device) -> Any:
    """Return the inputs on a device: a tensor, or a tuple, list or dictionary of them."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, dict):
        return {name: to_device(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return type(inputs)(to_device(value, device) for value in inputs)
    return inputs


def _diverged(loss: float, epoch: int, step: int, config: TrainingConfig) -> ConfigurationError:
    return ConfigurationError(
        f"The train loss became {loss} in epoch {epoch}, step {step}, with a learning rate of "
        f"{config.learning_rate:g}; expected a finite number. Train again with a smaller "
        f"learning rate, for example {config.learning_rate / 10:g}, and look for extreme values "
        "in the data."
    )
