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
