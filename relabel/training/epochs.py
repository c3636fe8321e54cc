"""One epoch of stochastic gradient descent, and how good the network is after it.

Batches come from any map-style data set, in an order that is a function of the seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from relabel.training.config import TrainingConfig
from relabel.training.objective import LossFunction, Quality, judge
from tracin_core.errors import ConfigurationError

EVALUATION_BATCH = 512  # examples; without gradients this many small inputs are a few megabytes


def shuffled_batches(dataset: Any, batch_size: int, *, seed: int, epoch: int) -> Iterator[Any]:
    """Yield every example once, in batches ``(inputs, targets)``.

    Args:
        dataset: Map-style, of ``(input, target)``.
        batch_size: Examples per batch; the last one may be smaller, or larger by one.
        seed: With the epoch it decides the order, so a resumed epoch has the same one.
        epoch: 1-based number.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    order = torch.randperm(len(dataset), generator=generator)
    count = count_batches(len(order), batch_size)
    for number in range(count):
        stop = (number + 1) * batch_size if number < count - 1 else len(order)
        yield read_batch(dataset, order[number * batch_size : stop])


def count_batches(num_examples: int, batch_size: int) -> int:
    """Return the steps of an epoch.

    A single example left over joins the batch before it: batch normalisation has nothing to
    compare it with, and torch refuses it.
    """
    left_over = num_examples % batch_size
    return max(num_examples // batch_size + (left_over > (1 if batch_size > 1 else 0)), 1)


def ordered_batches(dataset: Any, largest: int | None = None) -> Iterator[Any]:
    """Yield examples by position, in batches ``(inputs, targets)``.

    Args:
        dataset: Map-style, of ``(input, target)``.
        largest: Most examples to read; of more a sample is taken, always the same. None for all.
    """
    chosen = torch.arange(len(dataset))
    if largest is not None and len(dataset) > largest:
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(dataset), generator=generator)[:largest].sort().values
    for start in range(0, len(chosen), EVALUATION_BATCH):
        yield read_batch(dataset, chosen[start : start + EVALUATION_BATCH])


def read_batch(dataset: Any, indices: Tensor) -> Any:
    """Return some examples as one batch; in one indexing step where the data set knows how."""
    if hasattr(dataset, "read_batch"):
        return dataset.read_batch(indices)
    return default_collate([dataset[int(index)] for index in indices])


def read_targets(dataset: Any) -> Tensor:
    """Return the targets of a data set, shape ``(N,)``, on the processor."""
    targets = getattr(dataset, "targets", None)
    if targets is None:
        targets = torch.cat([targets for _, targets in ordered_batches(dataset)])
    return torch.as_tensor(targets).cpu()


def count_classes(dataset: Any) -> list[int]:
    """Return the examples of each class, shape ``(K,)``."""
    return [int(count) for count in torch.bincount(read_targets(dataset).flatten().long())]


def mix_seed(seed: int, epoch: int) -> int:
    """Return a seed of its own for each epoch, unrelated to those of neighbouring seeds."""
    digest = hashlib.blake2b(f"{seed}/{epoch}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def hash_dataset(dataset: Any) -> str:
    """Return a hash of a data set: its own digest, or of what it has in memory, or of its size."""
    known = getattr(dataset, "digest", None)
    if isinstance(known, str):
        return known
    digest = hashlib.blake2b(str(len(dataset)).encode(), digest_size=16)
    for name in ("inputs", "labels"):
        values = getattr(dataset, name, None)
        if isinstance(values, Tensor):
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(values.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


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
