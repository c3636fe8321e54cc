"""The checkpoints that a person's own training left: measured, chosen, and copied where used.

Each one is measured by forward passes only, on the same sample of the examples, and the choice
says why it took which. Imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relabel.errors import NotFoundError
from relabel.fitting.data import ExampleSource
from relabel.fitting.options import WorkOptions
from relabel.models.user.code import describe_error, explain_own_code_errors
from relabel.models.user.inputs import OwnEncoder
from relabel.progress import OnProgress, Progress
from relabel.runs.config import CheckpointEntry
from relabel.text import Split
from relabel.training.objective import Quality, judge
from relabel.training.selection import ChosenCheckpoint, choose_checkpoints, guessing_accuracy
from tracin_core.capture.batching import Batch
from tracin_core.capture.loss_check import LossCheck
from tracin_core.checkpoints import Checkpoint, read_rate, read_weights
from tracin_core.checkpoints.learning_rates import Rate
from tracin_core.devices import choose_device
from tracin_core.errors import CheckpointError, ConfigurationError
from tracin_core.gradients.evaluation import simulate_loaded_weights
from tracin_core.gradients.module_states import evaluation_mode
from tracin_core.gradients.nested import call_model, find_tensors, map_tensors
from tracin_core.losses import choose_loss, get_logits

SAMPLE = 1000  # examples of a split: an accuracy is known to three percentage points or better
SMALLEST_SAMPLE = 60
# Numbers in the inputs of the sample, which stays in memory for all checkpoints: 100 MB.
SAMPLE_NUMBERS = 25_000_000
BATCH = 64
# Examples on which a loss is tried: enough for every class to come twice, soon read.
FIRST_BATCH = 32


@dataclass(frozen=True)
class Measures:
    """What a checkpoint is like.

    Attributes:
        train_loss: Mean loss over the sample of the train examples.
        test: On the sample of the test examples, or of the train examples where there are none.
    """

    train_loss: float
    test: Quality

    @property
    def score(self) -> float:
        """Return the accuracy, or for regression the share of variance explained."""
        found = self.test.accuracy if self.test.r2 is None else self.test.r2
        return math.nan if found is None else found


Batches = list[tuple[Any, Tensor]]


def measure_checkpoints(
    encoder: OwnEncoder,
    checkpoints: Sequence[Checkpoint],
    train: Batches,
    test: Batches,
    *,
    device: str,
    on_progress: OnProgress,
) -> list[Measures]:
    """Return what each checkpoint is like.

    Raises:
        CheckpointError: If one does not fit the network.
        ConfigurationError: If the network cannot take its inputs, or returns the wrong shape.
    """
    found: list[Measures] = []
    place = choose_device(device)
    for number, checkpoint in enumerate(checkpoints):
        on_progress(Progress("reading the checkpoints", number, len(checkpoints)))
        with _load_weights(encoder.own.model, checkpoint, place):
            seen = _judge(encoder, train, place)
            found.append(Measures(seen.loss, _judge(encoder, test, place) if test else seen))
    on_progress(Progress("reading the checkpoints", len(checkpoints), len(checkpoints)))
    return found


def check_network(encoder: OwnEncoder, examples: ExampleSource) -> None:
    """Check on the first examples that the network takes its inputs and returns what is needed.

    Raises:
        ConfigurationError: If it does not, or a loss of its own is none of single examples.
    """
    first = examples.read_batch(torch.arange(min(3, len(examples))))
    with evaluation_mode(encoder.own.model, torch.device("cpu")):
        _judge(encoder, [first], torch.device("cpu"))
        if callable(encoder.own.loss):
            _check_loss(encoder, examples)


def check_trainable(encoder: OwnEncoder, examples: ExampleSource) -> None:
    """Check on the first examples that a training could change anything, beside ``check_network``.

    Raises:
        ConfigurationError: If it could not.
    """
    check_network(encoder, examples)
    model, (inputs, _) = encoder.own.model, examples.read_batch(torch.arange(min(3, len(examples))))
    with evaluation_mode(model, torch.device("cpu")), torch.enable_grad():
        outputs = get_logits(call_model(model, inputs))
    if not outputs.requires_grad:
        raise ConfigurationError(
            f"The outputs of the network of {encoder.config.title} depend on no weight that has a "
            "gradient; expected at least one that can be trained. Leave detach() and "
            "torch.no_grad() out of forward, and requires_grad True where it is to learn."
        )


def read_sample(examples: ExampleSource) -> Batches:
    """Return a sample spread evenly over a split, as batches; none of an empty split."""
    if not len(examples):
        return []
    inputs, _ = examples.read_batch(torch.tensor([0]))
    numbers = sum(tensor.numel() for tensor in find_tensors(inputs))
    most = min(SAMPLE, max(SMALLEST_SAMPLE, SAMPLE_NUMBERS // max(1, numbers)), len(examples))
    chosen = torch.from_numpy(np.linspace(0, len(examples) - 1, most).round().astype(np.int64))
    return [examples.read_batch(part) for part in torch.split(chosen, BATCH)]


def _judge(encoder: OwnEncoder, batches: Batches, device: torch.device) -> Quality:
    loss = choose_loss(encoder.own.loss or "cross_entropy")  # type: ignore[arg-type]
    named = "mse" if encoder.config.task == "regression" else "cross_entropy"
    with explain_own_code_errors(Path(encoder.config.file), "The loss"):
        return judge(_run(encoder, batches, device), loss, named)  # type: ignore[arg-type]


def _check_loss(encoder: OwnEncoder, examples: ExampleSource) -> None:
    """Try a loss before a long training, not when its result is scored."""
    loss = LossCheck(choose_loss(encoder.own.loss))  # type: ignore[arg-type]
    model = encoder.own.model
    for size in sorted({min(most, len(examples)) for most in (3, FIRST_BATCH)}):
        inputs, targets = examples.read_batch(torch.arange(size))
        with explain_own_code_errors(Path(encoder.config.file), "The loss"):
            loss.try_on(Batch(0, inputs, targets, size), lambda inputs: call_model(model, inputs))


def _run(
    encoder: OwnEncoder, batches: Batches, device: torch.device
) -> Iterator[tuple[Any, Tensor]]:
    for inputs, targets in batches:
        moved = map_tensors(lambda tensor: tensor.to(device), inputs)
        try:
            outputs = call_model(encoder.own.model, moved)
        except Exception as error:
            raise _cannot_take(encoder, inputs, error) from error
        _check_outputs(encoder, get_logits(outputs), len(targets))
        yield outputs, targets.to(device)


def _cannot_take(encoder: OwnEncoder, inputs: Any, error: Exception) -> ConfigurationError:
    shapes = ", ".join(
        f"{tuple(t.shape)} {t.dtype}".replace("torch.", "") for t in find_tensors(inputs)
    )
    names = f" under {', '.join(inputs)}" if isinstance(inputs, dict) else ""
    return ConfigurationError(
        f"The network of {encoder.config.title} raised "
        f"{describe_error(error, Path(encoder.config.file))} for an input of {shapes}{names}. "
        "Expected it to take a batch of what the transform returns. Return the transform that "
        "your training used, as tracin_core.OwnModel(network, transform=...)."
    )


def _check_outputs(encoder: OwnEncoder, logits: Tensor, size: int) -> None:
    config, wanted = encoder.config, encoder.config.num_outputs
    shape = tuple(logits.shape)
    if config.task == "regression":
        fits, expected = shape in ((size,), (size, 1)), f"({size}, 1), one number for each example"
    else:
        fits = shape == (size, wanted)
        if wanted == 2 and encoder.own.loss == "binary_cross_entropy":
            fits = fits or shape in ((size,), (size, 1))
        expected = f"({size}, {wanted}), one number for each of the project's {wanted} classes"
    if not fits:
        raise ConfigurationError(
            f"The network of {config.title} returned the shape {shape} for {size} examples; "
            f"expected {expected}. Build it for this project: the function may ask for "
            "num_classes and classes."
        )


@contextmanager
def _load_weights(model: nn.Module, checkpoint: Checkpoint, device: torch.device) -> Iterator[None]:
    """Load a checkpoint's weights into a model inside the block; it stays as it was."""
    state = read_weights(checkpoint, model)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    weights = {
        name: state.get(name, value).detach().to(device, value.dtype, copy=True)
        for name, value in own.items()
    }
    with simulate_loaded_weights(model, weights, device):
        yield


# Checkpoints that are looked at; of more, as many spread evenly over the training.
MOST_MEASURED = 40


def spread_evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers from 0, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def choose_own_checkpoints(
    measures: Sequence[Measures], *, chance: float, count: int, title: str
) -> list[ChosenCheckpoint]:
    """Choose at most ``count`` checkpoints, none of which is no better than guessing.

    Args:
        measures: Of each checkpoint, in training order.
        chance: Accuracy that guessing reaches, or 0 for regression.
        count: Most to choose.
        title: How messages name the network.

    Raises:
        ConfigurationError: If none is better than guessing.
    """
    able = [
        index
        for index, found in enumerate(measures)
        if found.score > chance and math.isfinite(found.train_loss)
    ]
    if not able:
        raise ConfigurationError(_explain_chance(measures, chance, title))
    if len(able) <= count:
        return [
            ChosenCheckpoint(index, f"{describe_measures(measures[index], chance)}.")
            for index in able
        ]
    chosen = choose_checkpoints(
        [measures[index].train_loss for index in able],
        [measures[index].score for index in able],
        chance=chance,
        count=count,
    )
    return [
        ChosenCheckpoint(
            able[one.index],
            f"{_describe_progress(able, one.index, measures)}"
            f"{describe_measures(measures[able[one.index]], chance)}.",
        )
        for one in chosen
    ]


def take_steps(
    steps: Sequence[int], wanted: Collection[int], measures: Sequence[Measures], chance: float
) -> list[ChosenCheckpoint]:
    """Return the checkpoints at the steps that a person chose, in training order.

    Args:
        steps: Of each checkpoint.
        wanted: Those that they chose.
        measures: Of each checkpoint.
        chance: Accuracy that guessing reaches.

    Raises:
        NotFoundError: If there is none at one of them.
    """
    missing = sorted(set(wanted) - set(steps))
    if missing:
        raise NotFoundError(
            f"Found no checkpoint at step {missing[0]}; expected some of the steps "
            f"{', '.join(map(str, steps))}. Choose among these."
        )
    return [
        ChosenCheckpoint(
            index, f"Chosen by a person; {describe_measures(measures[index], chance)}."
        )
        for index, step in enumerate(steps)
        if step in wanted
    ]


def describe_measures(found: Measures, chance: float) -> str:
    """Return a clause about a checkpoint."""
    loss = f"train loss {found.train_loss:.3f}"
    if found.test.r2 is not None:
        return f"{loss}, R\N{SUPERSCRIPT TWO} {found.test.r2:.3f}, predicting the mean reaches 0"
    return f"{loss}, accuracy {found.score:.1%}, guessing reaches {chance:.1%}"


def _describe_progress(able: Sequence[int], place: int, measures: Sequence[Measures]) -> str:
    losses = [measures[index].train_loss for index in able]
    top, bottom = losses[0], min(losses)
    if place == 0 or top <= bottom:
        return "The first that can be used: " if place == 0 else ""
    return f"{(top - losses[place]) / (top - bottom):.0%} of the way down: "


def _explain_chance(measures: Sequence[Measures], chance: float, title: str) -> str:
    finite = [found for found in measures if math.isfinite(found.train_loss)]
    scores = [found.score for found in finite if math.isfinite(found.score)]
    if not scores:
        return (
            f"The network of {title} returns numbers that are not finite at every checkpoint; "
            "expected finite ones. See that the transform returns what your training used, and "
            "that the training itself had not diverged."
        )
    if measures[0].test.r2 is not None:
        best = f"explains {max(scores):.1%} of the variance, and predicting the mean 0%"
        usual = "target_mean and target_std are not those of your training"
    else:
        best = f"is right for {max(scores):.1%} of a sample, and guessing reaches {chance:.1%}"
        usual = "its outputs are in another order of classes (say it with OwnModel(classes=...))"
    return (
        f"No checkpoint of {title} is better than guessing: the best {best}. Expected some that "
        f"have learned the task, or scores mean nothing. The usual causes: {usual}, or the "
        "transform is not that of your training. If all of this is right, name the checkpoints "
        "to score with --steps."
    )


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
    """Check that a learning rate can be one, before anything is read or copied."""
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
