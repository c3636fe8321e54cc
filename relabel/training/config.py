"""How a network is trained, what is suggested where nobody says, and the records of a training.

All of it is saved as JSON with the training and with every run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from relabel.models.registry import TrainingSuggestion, find_network, list_networks
from relabel.models.user.config import OwnModelConfig
from relabel.text import LARGEST_RATE, LARGEST_SEED, Kind
from tracin_core.errors import ConfigurationError

Schedule = Literal["constant", "cosine", "step"]
# "custom" is a function that comes with a person's own network.
LossName = Literal["cross_entropy", "mse", "binary_cross_entropy", "custom"]
MixedPrecision = Literal["auto", "off"]
# "step" divides the rate by ten after half and after three quarters of the steps, the usual
# milestones for convolutional networks (He et al. 2016, arXiv:1512.03385, Sec. 4.2).
STEP_MILESTONES = (0.5, 0.75)
STEP_FACTOR = 0.1


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Options of one training by stochastic gradient descent, which TracIn is derived for.

    Attributes:
        epochs: Passes over the train examples.
        batch_size: Examples per step.
        learning_rate: First step size.
        momentum: Of the steps, 0 to below 1.
        weight_decay: L2 penalty.
        schedule: How the learning rate goes down: "constant", "cosine" (to 0) or "step".
        seed: Chooses the order of the examples and any dropout.
        num_checkpoints: Checkpoints to score with at most, chosen by ``choose_checkpoints``.
        loss: What is minimised.
        rounds: Most times that the epochs are gone through, each time with the learning rate from
            its beginning. After the first time another round is trained as long as the last one
            has lowered the loss on held-out examples; one that has not is thrown away.
        max_seconds: A further round begins only where it would end within so many seconds of
            training in all; None for no limit.
        residual_bound: For "mse", the residual, in deviations of the targets, from which on an
            example's loss grows as a straight line (Huber 1964) and pulls no harder; None lets
            it pull as hard as it is wrong.
        patience: Epochs without a lower test loss after which the training stops early; None
            trains them all.
        mixed_precision: "auto" computes in bfloat16 on CUDA and in float32 elsewhere; "off" in
            float32 everywhere. The weights are float32 in any case.
        max_disk_bytes: What the checkpoints may take. Beyond it those of every second epoch are
            deleted, then every fourth that is left, and so on.
        device: "auto" (cuda, then mps, then cpu) or one of these.
        num_threads: Processor threads, or None for torch's own choice. Steps of small networks
            take well under a millisecond, and two threads that wait for one another on a busy
            machine made one training 50 times slower; the bits of the result depend on it too.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    seed: int = 0
    num_checkpoints: int = 8
    device: str = "auto"
    num_threads: int | None = None
    loss: LossName = "cross_entropy"
    patience: int | None = None
    mixed_precision: MixedPrecision = "auto"
    max_disk_bytes: int = 2_000_000_000
    residual_bound: float | None = None
    rounds: int = 1
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "num_checkpoints", "rounds"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("num_threads", "patience"):
            number = getattr(self, name)
            _require(name, number, number is None or number >= 1, "None or at least 1")
        _require("seed", self.seed, 0 <= self.seed <= LARGEST_SEED, f"from 0 to {LARGEST_SEED}")
        rate = self.learning_rate
        _require("learning_rate", rate, 0 < rate <= LARGEST_RATE, "a positive number")
        _require("momentum", self.momentum, 0 <= self.momentum < 1, "from 0 to below 1")
        decay = self.weight_decay
        _require("weight_decay", decay, 0 <= decay < math.inf, "0 or more")
        limit = self.max_seconds
        _require("max_seconds", limit, limit is None or limit > 0, "None or a positive number")
        bound = self.residual_bound
        holds = bound is None or (0 < bound < math.inf and self.loss == "mse")
        _require("residual_bound", bound, holds, 'None, or positive where the loss is "mse"')
        for name, choice in (
            ("schedule", Schedule),
            ("loss", LossName),
            ("mixed_precision", MixedPrecision),
        ):
            names = get_args(choice)
            _require(name, getattr(self, name), getattr(self, name) in names, " or ".join(names))

    def rate_at(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step.

        Args:
            step: 0-based number of the step.
            total_steps: Steps of the whole training.
        """
        done = step / total_steps
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
        if self.schedule == "step":
            passed = sum(done >= milestone for milestone in STEP_MILESTONES)
            return self.learning_rate * STEP_FACTOR**passed
        return self.learning_rate

    def to_json(self) -> dict[str, Any]:
        """Return the options, of which ``TrainingConfig(**options)`` is an equal configuration."""
        saved = asdict(self)
        # Trainings from before there were a bound and rounds keep their fingerprint.
        for name, unset in (("residual_bound", None), ("rounds", 1), ("max_seconds", None)):
            if saved[name] == unset:
                del saved[name]
        return saved


# Where nobody says how many epochs: measured on small and large data, what a network can learn it
# has learned in ten times the epochs that teach a middling amount of data, most in one or two.
MOST_ROUNDS = 10
# Seconds of training within which further rounds must end: a person waits for them.
MOST_SECONDS = 180.0
MANY_EXAMPLES = 20_000
# A target with a slipped decimal point is some ten deviations off, and squared it weighs as much
# as a hundred right ones: steps follow it about, and the network learns it by heart. Two
# deviations leave every right example's gradient as it is once the network is any good.
RESIDUAL_BOUND = 2.0
# Checkpoints are chosen among the epochs, so there must be some.
MIN_EPOCHS = 6
# Of a person's own network nothing is known.
_OF_OWN = TrainingSuggestion(epochs=10, learning_rate=0.01, is_large=True)


def suggest_training(
    kind: Kind,
    *,
    seed: int = 0,
    num_examples: int = 0,
    model: str = "auto",
    loss: LossName = "cross_entropy",
    chosen: TrainingSuggestion | None = None,
) -> TrainingConfig:
    """Return options that train a built-in network.

    They were chosen on the demos for two things at once: accuracy on the test split, and
    checkpoints from before the network knows the wrong labels by heart. See
    ``benchmarks/detection.py``.

    Args:
        kind: What an example is.
        seed: Chooses the order of the examples and any dropout.
        num_examples: Train examples.
        model: Name of the network; "auto" is the suggested one.
        loss: What is minimised.
        chosen: What the configured network says of itself, where that is known.
    """
    network = find_network(model) or list_networks(kind)[0]
    if chosen is None:
        chosen = _OF_OWN if model == OwnModelConfig.name else network.training
    # A pass over many examples teaches as much as several over few: from 20,000 on, half of the
    # epochs and twice the batch, whose steps use the processor better.
    is_large = num_examples >= MANY_EXAMPLES
    return TrainingConfig(
        epochs=max(chosen.epochs // 2, MIN_EPOCHS) if is_large else chosen.epochs,
        batch_size=chosen.batch_size or (128 if is_large else 64),
        learning_rate=chosen.learning_rate,
        momentum=0.9,
        weight_decay=chosen.weight_decay,
        schedule="cosine",
        seed=seed,
        loss=loss,
        residual_bound=RESIDUAL_BOUND if loss == "mse" else None,
        # A small network gains nothing from a GPU on little data, and the processor's bits are
        # the same everywhere.
        device="auto" if chosen.is_large or is_large else "cpu",
        num_threads=None if chosen.is_large else 1,
    )


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigurationError(
            f"Found {name} = {value!r} for the training, expected {expected}. "
            "Correct it in the training options."
        )


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The state of a training after one epoch.

    Attributes:
        epoch: 1-based number.
        step: Optimiser steps done so far.
        learning_rate: Step size of the epoch's last step.
        train_loss: Mean loss over the train examples after the epoch, over a fixed sample of
            them where they are many: cross-entropy in nats, or for regression the squared
            error of standardised targets, with the bound on residuals that was trained with.
        test_loss: The same over the test examples.
        test_accuracy: Share of test examples predicted right, 0 to 1; None for regression.
        test_r2: Share of the test targets' variance that is explained, at most 1 (0 for
            predicting their mean); None for classification.
        test_rmse: Root of the mean squared error over the test examples, in the target's own
            unit; None for classification.
        train_accuracy: Share of the train examples (or of the sample of them) that are predicted
            as they are labelled, 0 to 1; None for regression, or where it was not recorded.
        train_r2: Share of the train targets' variance that is explained; None for classification,
            or where it was not recorded.
    """

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_r2: float | None = None
    test_rmse: float | None = None
    train_accuracy: float | None = None
    train_r2: float | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord(EpochRecord):
    """A checkpoint that is kept.

    Attributes:
        file: Path of the weights, relative to the run folder.
        reason: Why this epoch was chosen, in a sentence for the person.
    """

    file: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return asdict(self)
