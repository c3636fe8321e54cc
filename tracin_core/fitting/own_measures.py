"""How good a person's own network is at each of its checkpoints, on a sample of the examples.

Forward passes only, on the same examples for every checkpoint. Imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tracin_core.errors import ConfigurationError
from tracin_core.fitting.example_source import ExampleSource
from tracin_core.gradients.structure import call_model, find_tensors, map_tensors
from tracin_core.gradients.weights import WeightSlots, evaluation_mode
from tracin_core.influence.batches import Batch
from tracin_core.influence.checkpoints import Checkpoint, read_weights
from tracin_core.influence.devices import choose_device
from tracin_core.influence.loss_check import LossCheck
from tracin_core.influence.losses import choose_loss, get_logits
from tracin_core.models.own_code import describe_error, own_code_explained
from tracin_core.models.own_inputs import OwnEncoder
from tracin_core.training.objective import Quality, judge
from tracin_core.work.progress import OnProgress, Progress

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
        """Accuracy, or for regression the share of variance explained."""
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
        with _weights_in_place(encoder.own.model, checkpoint, place):
            seen = _judge(encoder, train, place)
            found.append(Measures(seen.loss, _judge(encoder, test, place) if test else seen))
    on_progress(Progress("reading the checkpoints", len(checkpoints), len(checkpoints)))
    return found


def check_network(encoder: OwnEncoder, examples: ExampleSource) -> None:
    """See on the first examples that the network takes its inputs and returns what is needed.

    Raises:
        ConfigurationError: If it does not, or a loss of its own is none of single examples.
    """
    first = examples.read_batch(torch.arange(min(3, len(examples))))
    with evaluation_mode(encoder.own.model, torch.device("cpu")):
        _judge(encoder, [first], torch.device("cpu"))
        if callable(encoder.own.loss):
            _check_loss(encoder, examples)


def check_trainable(encoder: OwnEncoder, examples: ExampleSource) -> None:
    """See on the first examples that a training could change anything, beside ``check_network``.

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
    with own_code_explained(Path(encoder.config.file), "The loss"):
        return judge(_run(encoder, batches, device), loss, named)  # type: ignore[arg-type]


def _check_loss(encoder: OwnEncoder, examples: ExampleSource) -> None:
    """Try a loss before a long training, not when its result is scored."""
    loss = LossCheck(choose_loss(encoder.own.loss))  # type: ignore[arg-type]
    model = encoder.own.model
    for size in sorted({min(most, len(examples)) for most in (3, FIRST_BATCH)}):
        inputs, targets = examples.read_batch(torch.arange(size))
        with own_code_explained(Path(encoder.config.file), "The loss"):
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
def _weights_in_place(
    model: nn.Module, checkpoint: Checkpoint, device: torch.device
) -> Iterator[None]:
    """Let a model compute with a checkpoint's weights; it stays as it was."""
    state = read_weights(checkpoint, model)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    weights = {
        name: state.get(name, value).detach().to(device, value.dtype, copy=True)
        for name, value in own.items()
    }
    with evaluation_mode(model, device), WeightSlots(model).hold(weights):
        yield
