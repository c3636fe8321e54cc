"""One epoch of stochastic gradient descent, and how good the network is after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import ConfigurationError
from tracin_core.training.batches import (
    count_batches,
    mix_seed,
    ordered_batches,
    shuffled_batches,
)
from tracin_core.training.config import TrainingConfig
from tracin_core.training.objective import LossFunction, Quality, judge

# Examples on which a network is judged after each epoch. With so many the accuracy has a
# standard error of half a percent, and all 60,000 of a large train split would take as long as
# a third of the epoch.
EXAMPLES_JUDGED = 10_000

# Told how many examples of the epoch have been visited; what it raises ends the training.
OnVisited = Callable[[int], None]


def run_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_set: Any,
    config: TrainingConfig,
    objective: LossFunction,
    *,
    epoch: int,
    device: torch.device,
    on_visited: OnVisited = lambda done: None,
) -> float:
    """Visit every train example once.

    Args:
        model: Changed in place.
        optimizer: Over the model's parameters; its rate is set at every step.
        train_set: Map-style, of ``(input, target)``.
        config: Batch size, learning rates, seed.
        objective: The loss of each example.
        epoch: 1-based number; with the seed it decides order and dropout.
        device: Where the model is.
        on_visited: Told after each step.

    Returns:
        The learning rate of the last step.

    Raises:
        ConfigurationError: If the loss becomes infinite or NaN.
    """
    steps = count_batches(len(train_set), config.batch_size)
    torch.manual_seed(mix_seed(config.seed, -epoch))  # dropout; the caller keeps the old state
    model.train()
    rate, visited = config.learning_rate, 0
    batches = shuffled_batches(train_set, config.batch_size, seed=config.seed, epoch=epoch)
    begun = (epoch - 1) * steps
    # Each round has the learning rate from its beginning; without rounds there is one.
    before_round = (epoch - 1) // config.epochs * config.epochs * steps
    for number, (inputs, targets) in enumerate(batches, start=begun):
        rate = config.rate_at(number - before_round, steps * config.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with _precision(config, device):
            loss = objective(call_network(model, inputs, device), targets.to(device)).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise _diverged(loss.item(), epoch, number + 1, config)
        visited += len(targets)
        on_visited(visited)
    return rate


@torch.no_grad()
def measure_losses(
    model: nn.Module, dataset: Any, objective: LossFunction, device: torch.device
) -> Tensor:
    """Return the loss of each example in evaluation mode, on the processor, shape ``(N,)``.

    Of more than ``EXAMPLES_JUDGED`` examples always the same ones are taken.
    """
    model.eval()
    return torch.cat(
        [
            objective(call_network(model, inputs, device), targets.to(device)).float().cpu()
            for inputs, targets in ordered_batches(dataset, EXAMPLES_JUDGED)
        ]
    )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: Any,
    config: TrainingConfig,
    objective: LossFunction,
    device: torch.device,
) -> Quality:
    """Return how good the network is in evaluation mode, on ``EXAMPLES_JUDGED`` at most."""

    def batches() -> Iterator[tuple[Any, Tensor]]:
        for inputs, targets in ordered_batches(dataset, EXAMPLES_JUDGED):
            yield call_network(model, inputs, device), targets.to(device)

    model.eval()
    return judge(batches(), objective, config.loss)


def check_finite(loss: float, epoch: int, step: int, config: TrainingConfig) -> None:
    """Refuse to go on from weights that have run away in the last step of an epoch."""
    if not math.isfinite(loss):
        raise _diverged(loss, epoch, step, config)


def call_network(model: nn.Module, inputs: Any, device: torch.device) -> Any:
    """Return a network's outputs: a dictionary goes in by name, a tuple or list by position."""
    moved = to_device(inputs, device)
    if isinstance(moved, dict):
        return model(**moved)
    return model(*moved) if isinstance(moved, tuple | list) else model(moved)


def to_device(inputs: Any, device: torch.device) -> Any:
    """Return the inputs on a device: a tensor, or a tuple, list or dictionary of them."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, dict):
        return {name: to_device(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return type(inputs)(to_device(value, device) for value in inputs)
    return inputs


def _precision(config: TrainingConfig, device: torch.device) -> AbstractContextManager[None]:
    """Return the context of a forward pass: bfloat16, which needs no loss scaling, on CUDA."""
    if device.type == "cuda" and config.mixed_precision == "auto":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def _diverged(loss: float, epoch: int, step: int, config: TrainingConfig) -> ConfigurationError:
    return ConfigurationError(
        f"The train loss became {loss} in epoch {epoch}, step {step}, with a learning rate of "
        f"{config.learning_rate:g}; expected a finite number. Train again with a smaller "
        f"learning rate, for example {config.learning_rate / 10:g}, and look for extreme values "
        "in the data."
    )
