"""TracIn-Ideal: what every step of a training did to the loss of chosen test examples.

Pruthi et al. 2020 (arXiv:2002.08484v3), Sec. 3.1: a step on z that moves the weights from w to w'
has the influence ``loss(w, z') - loss(w', z')``, and over the whole training these sum to the total
drop (Lemma 3.1). In a minibatch the change is shared (Sec. 3.3): by the first-order estimates
``rate / B * gradient(z) . gradient(z')``, and what they leave of the change equally, so that the
sum stays exact. Shares by quotients of products would explode where products cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from tracin_core.capture.batching import count_examples, read_batches
from tracin_core.checkpoints import Checkpoint
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.nested import call_model, map_tensors
from tracin_core.losses import Loss, choose_loss
from tracin_core.tracin import TracIn


@dataclass(frozen=True)
class FirstOrderCheck:
    """How far changes of the loss are what gradients promise (the paper's Fig. 7).

    Attributes:
        correlation: Pearson's between changes and estimates over steps and test examples.
        by_example: The same for each test example, shape ``(M,)``; NaN where nothing varies.
        relative_error: ``|changes - estimates| / |changes|``.
    """

    correlation: float
    by_example: Tensor
    relative_error: float


class IdealRecorder:
    """Records a training of somebody's own, step by step.

    Losses and gradients are those of evaluation mode, also of a network with dropout or BatchNorm,
    whose own steps go by others: what that makes of a change is shared equally. A step costs two
    forward passes of the test examples and the gradients of both.

    Args:
        model: The network in training; it is left as it was found at every step.
        test: M chosen test examples, a data set of ``(input, target)``.
        num_train: Number of train examples N.
        loss: As in ``TracIn``.
        layers: Of which gradients estimates are made, as in ``TracIn``.
        device: Where to compute.

    Attributes:
        influence: Shares summed over all steps so far, shape ``(N, M)``, in loss units; positive
            where an example's steps lowered the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        test: Dataset[Any],
        num_train: int,
        loss: Loss = "cross_entropy",
        *,
        layers: str = "all",
        device: str = "cpu",
    ) -> None:
        self._model, self._test, self._loss = model, test, loss
        self._layers, self._device = layers, device
        count = len(self._measure())
        self.influence = torch.zeros(num_train, count, dtype=torch.float64)
        self._changes: list[Tensor] = []
        self._estimates: list[Tensor] = []
        self._first: Tensor | None = None
        self._last: Tensor | None = None

    @contextmanager
    def step(
        self, inputs: Any, targets: Any, indices: Sequence[int] | Tensor, rate: float
    ) -> Iterator[None]:
        """Record one step, which is made inside the block: ``optimizer.step()``.

        Args:
            inputs: Of the B examples of the minibatch.
            targets: Their targets.
            indices: Their positions among the train examples, shape ``(B,)``.
            rate: The learning rate of the step on their **mean** loss.

        Raises:
            ConfigurationError: If there are not as many positions as examples.
        """
        places = torch.as_tensor(indices)
        batch = (
            TensorDataset(inputs, targets)
            if isinstance(inputs, Tensor)
            else _Pairs(inputs, targets)
        )
        if len(places) != len(batch):
            raise ConfigurationError(
                f"Found {len(places)} positions for {len(batch)} examples of a step; expected one "
                "for each. Pass the indices that the batch was made from."
            )
        before = self._measure()
        products = self._open().influence(batch, self._test).double()
        estimates = rate * products / len(places)
        yield
        after = self._measure()
        change = before - after
        rest = (change - estimates.sum(0)) / len(places)
        # index_add_, because a batch drawn with replacement holds an example twice.
        self.influence.index_add_(0, places, estimates + rest)
        self._changes.append(change)
        self._estimates.append(estimates.sum(0))
        self._first = before if self._first is None else self._first
        self._last = after

    @property
    def changes(self) -> Tensor:
        """Drop of each test example's loss at each step, shape ``(T, M)``."""
        return self._stack(self._changes)

    @property
    def estimates(self) -> Tensor:
        """The first-order estimates of the same, shape ``(T, M)``."""
        return self._stack(self._estimates)

    @property
    def total_drop(self) -> Tensor:
        """Loss before the first recorded step less that after the last one, shape ``(M,)``."""
        if self._first is None or self._last is None:
            return torch.zeros(self.influence.shape[1], dtype=torch.float64)
        return self._first - self._last

    @property
    def unrecorded(self) -> Tensor:
        """What of the total drop fell between recorded steps, shape ``(M,)``; else about 0."""
        return self.total_drop - self.changes.sum(0)

    def check_first_order(self) -> FirstOrderCheck:
        """Compare changes with their estimates over all steps so far.

        Raises:
            ConfigurationError: If there are fewer than two steps.
        """
        changes, estimates = self.changes, self.estimates
        if len(changes) < 2:
            raise ConfigurationError(
                f"Found {len(changes)} recorded steps; expected two or more to correlate. Train on."
            )
        columns = zip(changes.t(), estimates.t(), strict=True)
        return FirstOrderCheck(
            correlation=float(correlate(changes.flatten(), estimates.flatten())),
            by_example=torch.stack([correlate(*pair) for pair in columns]),
            relative_error=float((changes - estimates).norm() / changes.norm()),
        )

    def _stack(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows) if rows else self.influence.new_zeros(0, self.influence.shape[1])

    def _open(self) -> TracIn:
        weights = Checkpoint(self._model.state_dict(), 1.0)
        return TracIn(self._model, weights, self._loss, self._layers, self._device)

    def _measure(self) -> Tensor:
        """Return the test examples' losses as the network is now, shape ``(M,)``."""
        modes = {module: module.training for module in self._model.modules()}
        self._model.eval()
        try:
            with torch.no_grad():
                inputs, targets = map_tensors(lambda t: t.to(self._device), _collate(self._test))
                found = choose_loss(self._loss)(call_model(self._model, inputs), targets)
        finally:
            for module, mode in modes.items():
                module.training = mode
        return found.double().cpu()


def train_and_record(
    model: nn.Module,
    train: TensorDataset,
    test: Dataset[Any],
    loss: Loss = "cross_entropy",
    *,
    rate: float = 0.1,
    batch_size: int = 8,
    epochs: int = 5,
    seed: int = 0,
    on_epoch: Callable[[int], None] | None = None,
) -> IdealRecorder:
    """Train with plain SGD on the mean loss of minibatches, and record every step.

    The reference loop: small networks and few examples. The network is trained in place.

    Args:
        model: The network.
        train: N train examples.
        test: M test examples.
        loss: As in ``TracIn``.
        rate: Learning rate.
        batch_size: Examples in a step; 1 is the paper's Sec. 3.1.
        epochs: Passes over the train examples, each in a new order.
        seed: Of the orders.
        on_epoch: Called with each epoch that has ended, counted from 1.
    """
    recorder = IdealRecorder(model, test, len(train), loss)
    function, optimizer = choose_loss(loss), torch.optim.SGD(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        for places in torch.split(torch.randperm(len(train), generator=generator), batch_size):
            inputs, targets = (tensor[places] for tensor in train.tensors)
            with recorder.step(inputs, targets, places, rate):
                optimizer.zero_grad()
                loss_value = function(model(inputs), targets).mean()
                loss_value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        if on_epoch is not None:
            on_epoch(epoch)
    return recorder


def correlate(left: Tensor, right: Tensor) -> Tensor:
    """Return Pearson's correlation of two rows of numbers, shape ``()``; NaN if one is constant."""
    one, other = left - left.mean(), right - right.mean()
    found: Tensor = (one @ other) / (one.norm() * other.norm())
    return found


class _Pairs(Dataset[Any]):
    """A batch whose inputs are several tensors."""

    def __init__(self, inputs: Any, targets: Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Any:
        return map_tensors(lambda tensor: tensor[index], self._inputs), self._targets[index]


def _collate(examples: Any) -> tuple[Any, Any]:
    (batch,) = read_batches(examples, max(1, count_examples(examples)))
    return batch.inputs, batch.targets
