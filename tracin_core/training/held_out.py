"""The held-out examples in two parts: one chooses when a training ends, the other judges it.

A loss that chose among epochs looks better than it is; so what is said about a network comes from
examples that had no part in any choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.training.batches import read_batch, read_targets
from tracin_core.training.config import TrainingConfig
from tracin_core.training.epoch import measure_losses
from tracin_core.training.objective import LossFunction
from tracin_core.training.records import EpochRecord
from tracin_core.training.rounds import Verdict, judge_course, typical_loss

# Of fewer, a mean loss says little about any other example.
LEAST_WATCHED = 10


class Part:
    """Some examples of a map-style data set, as a data set."""

    def __init__(self, dataset: Any, indices: Tensor) -> None:
        """Take the examples at some positions, shape ``(N,)``."""
        self._dataset = dataset
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[int(self._indices[index])]

    @property
    def targets(self) -> Tensor:
        """Targets, shape ``(N,)``."""
        return read_targets(self._dataset)[self._indices]

    def read_batch(self, indices: Tensor) -> Any:
        """Return some of them as one batch."""
        return read_batch(self._dataset, self._indices[indices])


def halve(dataset: Any) -> tuple[Part, Part] | None:
    """Return the half that is watched and the half that judges; None where they are too few.

    Always the same halves of the same number of examples, whatever the training's seed, and drawn
    by chance: neighbouring examples are often of one class.
    """
    if len(dataset) < 2 * LEAST_WATCHED:
        return None
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(dataset), generator=generator)
    middle = len(dataset) // 2
    watched, judging = order[:middle].sort().values, order[middle:].sort().values
    return Part(dataset, watched), Part(dataset, judging)


class Watch:
    """Looks at the held-out examples after each epoch, and says when a training is over."""

    def __init__(self, config: TrainingConfig, test_set: Any, *, is_apart: bool) -> None:
        """Divide the examples.

        Args:
            config: Options of the training.
            test_set: Map-style, of ``(input, target)``.
            is_apart: Whether they are apart from the train examples.
        """
        self._config = config
        self._halves = halve(test_set) if is_apart and config.rounds > 1 else None
        self._means: list[float] = []  # watched loss after each epoch
        self._ends: list[list[float]] = []  # of each example, at each round's end
        # What the network is judged by; without rounds nothing was chosen by any of them.
        self.judging = (self._halves[1] if self._halves else test_set) if is_apart else None

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on with what ``to_state`` returned."""
        self._means, self._ends = list(state.get("watched", ())), list(state.get("ends", ()))

    def to_state(self) -> dict[str, Any]:
        """Return what has been seen, for the file with the training's state."""
        return {"watched": self._means, "ends": self._ends}

    def look(
        self, epoch: int, model: nn.Module, objective: LossFunction, device: torch.device
    ) -> None:
        """Measure the loss on the watched examples after an epoch, counted from 1."""
        if self._halves is None:
            return
        losses = measure_losses(model, self._halves[0], objective, device)
        self._means.append(typical_loss(losses.tolist()))
        if epoch % self._config.epochs == 0:
            self._ends.append(losses.tolist())

    def judge(self, history: Sequence[EpochRecord], *, chance: float, seconds: float) -> Verdict:
        """Say whether the training is over, why, and which epochs stay.

        Args:
            history: The epochs so far.
            chance: What guessing reaches, as ``choose_checkpoints`` has it.
            seconds: What they took.
        """
        config, done = self._config, len(history)
        losses = [epoch.test_loss or 0.0 for epoch in history]
        if config.patience is not None and losses:
            lowest = losses.index(min(losses))
            if done - 1 - lowest >= config.patience:
                return Verdict("patience", done, losses[lowest], losses[-1])
        if self._halves is None:
            over = done >= config.epochs
            return Verdict(("fixed" if config.rounds == 1 else "too few") if over else None, done)
        return judge_course(
            self._means,
            self._ends,
            [measured(epoch) <= chance for epoch in history[config.epochs - 1 :: config.epochs]],
            round_epochs=config.epochs,
            rounds=config.rounds,
            seconds=seconds,
            max_seconds=config.max_seconds,
        )


def measured(epoch: EpochRecord) -> float:
    """Return the test accuracy after an epoch, or for regression the variance explained."""
    found = epoch.test_r2 if epoch.test_accuracy is None else epoch.test_accuracy
    return 0.0 if found is None else found
