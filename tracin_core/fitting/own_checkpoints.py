"""What is known about the checkpoints that a person's training left, and copies of those used.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tracin_core.errors import CheckpointError, ConfigurationError
from tracin_core.fitting.example_source import ExampleSource
from tracin_core.fitting.own_choice import (
    MOST_MEASURED,
    choose_own_checkpoints,
    spread_evenly,
    take_steps,
)
from tracin_core.fitting.own_measures import Batches, measure_checkpoints, read_sample
from tracin_core.fitting.work_options import WorkOptions
from tracin_core.influence.checkpoints import Checkpoint, read_rate, read_weights
from tracin_core.influence.rates import Rate
from tracin_core.models.own_inputs import OwnEncoder
from tracin_core.runs import CheckpointEntry
from tracin_core.terms import Split
from tracin_core.training.selection import ChosenCheckpoint, guessing_accuracy
from tracin_core.work.progress import OnProgress

# As built-in trainings choose them unless told otherwise.
NUM_CHECKPOINTS = 8


class OwnCheckpoints:
    """The checkpoints that are looked at, what they are like, and which of them are used."""

    def __init__(
        self,
        found: Sequence[Checkpoint],
        encoder: OwnEncoder,
        examples: Mapping[Split, ExampleSource],
        options: WorkOptions,
        on_progress: OnProgress,
    ) -> None:
        _check_rate(options.learning_rate_of_checkpoints)
        self._encoder, self._options = encoder, options
        self._num_found = len(found)
        steps = number_steps(found)
        chosen = options.steps
        kept = spread_evenly(len(found), MOST_MEASURED)
        if chosen is not None and set(chosen) <= set(steps):
            kept = [index for index, step in enumerate(steps) if step in chosen]
        self._found = [found[index] for index in kept]
        self._steps = [steps[index] for index in kept]
        self._epochs = [index + 1 for index in kept]
        train, test = read_sample(examples["train"]), read_sample(examples["test"])
        self._measures = measure_checkpoints(
            encoder, self._found, train, test, device=options.device, on_progress=on_progress
        )
        self._sample = sum(len(targets) for _, targets in train)
        self._chance = self._find_chance(test or train)

    def save(self, folder: Path) -> dict[str, Any]:
        """Copy the weights of the chosen checkpoints; return what ``own.json`` is to hold."""
        chosen = self._choose()
        (folder / "checkpoints").mkdir()
        rates = [self._find_rate(checkpoint) for checkpoint in self._found]
        entries = []
        for one in chosen:
            step = self._steps[one.index]
            file = f"checkpoints/step-{step:06d}.pt"
            model = self._encoder.own.model
            copy_checkpoint(self._found[one.index], model, rates[one.index], folder / file, step)
            entry = CheckpointEntry(
                **self._describe(one.index, rates[one.index]), file=file, reason=one.reason
            )
            entries.append(asdict(entry))
        return {
            "training": {
                "checkpoints": str(Path(str(self._options.checkpoints)).resolve()),
                "num_found": self._num_found,
                "measured_on": self._sample,
            },
            "epochs": [self._describe(index, rate) for index, rate in enumerate(rates)],
            "checkpoints": entries,
        }

    def _choose(self) -> list[ChosenCheckpoint]:
        if self._options.steps is not None:
            wanted = self._options.steps
            return take_steps(self._steps, wanted, self._measures, self._chance)
        return choose_own_checkpoints(
            self._measures,
            chance=self._chance,
            count=max(1, self._options.num_checkpoints or NUM_CHECKPOINTS),
            title=self._encoder.config.title,
        )

    def _describe(self, index: int, rate: Rate | None) -> dict[str, Any]:
        found = self._measures[index]
        rmse = found.test.rmse
        return {
            "epoch": self._epochs[index],
            "step": self._steps[index],
            "learning_rate": rate if isinstance(rate, float) else None,
            "train_loss": _finite(found.train_loss),
            "test_loss": _finite(found.test.loss),
            "test_accuracy": _finite(found.test.accuracy),
            "test_r2": _finite(found.test.r2),
            "test_rmse": None if rmse is None else _finite(rmse * self._encoder.own.target_std),
        }

    def _find_rate(self, checkpoint: Checkpoint) -> Rate | None:
        """Return the recorded rate, else the one that was given, else None if none is needed."""
        try:
            return read_rate(checkpoint, self._encoder.own.model)
        except CheckpointError as error:
            given = self._options.learning_rate_of_checkpoints
            if given is not None:
                return float(given)
            if self._options.rates == "ones":
                return None
            raise CheckpointError(
                f"Checkpoint {checkpoint.title} records no learning rate that fits all of the "
                "network's parameters; --rates recorded expects one. Give the rate of your "
                "training with --learning-rate-of-checkpoints 0.1, or leave --rates out: without "
                "learning rates suspects rank as well or better."
            ) from error

    def _find_chance(self, judged: Batches) -> float:
        if self._encoder.config.task == "regression":
            return 0.0
        labels = np.concatenate([targets.numpy() for _, targets in judged])
        return guessing_accuracy(np.bincount(labels).tolist())


def _check_rate(rate: float | None) -> None:
    """See that a learning rate can be one, before anything is read or copied."""
    if rate is not None and not 0 <= rate < float("inf"):
        raise ConfigurationError(
            f"Found the learning rate {rate} for the checkpoints; expected a finite number, zero "
            "or more. Give the step size of your training: --learning-rate-of-checkpoints 0.1"
        )


def number_steps(checkpoints: Sequence[Checkpoint]) -> list[int]:
    """Return each checkpoint's step; 1, 2, 3, ... where they are not known or do not rise."""
    steps = [checkpoint.step for checkpoint in checkpoints]
    known = [step for step in steps if step is not None]
    rising = all(a < b for a, b in pairwise(known))
    return known if rising and len(known) == len(steps) else list(range(1, len(steps) + 1))


def copy_checkpoint(
    checkpoint: Checkpoint, model: nn.Module, rate: Rate | None, path: Path, step: int
) -> None:
    """Write a checkpoint's weights, and its learning rates, into a file of ours.

    Raises:
        CheckpointError: If it cannot be read or does not fit the model.
    """
    state = {name: value.clone() for name, value in read_weights(checkpoint, model).items()}
    content: dict[str, Any] = {"state_dict": state, "step": step}
    if isinstance(rate, Mapping):
        # As an optimizer with names keeps them, which is where the engine looks for them.
        groups = [
            {"lr": value, "params": [i], "param_names": [name]}
            for i, (name, value) in enumerate(rate.items())
        ]
        content["optimizer"] = {"state": {}, "param_groups": groups}
    elif rate is not None:
        content["learning_rate"] = rate
    torch.save(content, path)


def _finite(value: float | None) -> float | None:
    """Return a number as JSON can hold it."""
    return None if value is None or not np.isfinite(value) else float(value)
