"""What is known about each epoch of a training, and about the checkpoints that are kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The state of a training after one epoch.

    Attributes:
        epoch: 1-based number.
        step: Optimiser steps done so far.
        learning_rate: Step size of the epoch's last step.
        train_loss: Mean cross-entropy over the train examples after the epoch, in nats.
        test_accuracy: Share of test examples predicted right, 0 to 1.
    """

    epoch: int
    step: int
    learning_rate: float
    train_loss: float
    test_accuracy: float


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
