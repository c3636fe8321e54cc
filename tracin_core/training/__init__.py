"""The loop that trains a network and writes checkpoints with their learning rates.

``train`` needs torch and is loaded on first use; the rest does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracin_core.training.config import TrainingConfig, suggest_training, training_config_from_json
from tracin_core.training.records import CheckpointRecord, EpochRecord
from tracin_core.training.selection import ChosenCheckpoint, choose_checkpoints

if TYPE_CHECKING:
    from tracin_core.training.loop import train

__all__ = [
    "CheckpointRecord",
    "ChosenCheckpoint",
    "EpochRecord",
    "TrainingConfig",
    "choose_checkpoints",
    "suggest_training",
    "train",
    "training_config_from_json",
]


def __getattr__(name: str) -> Any:
    if name == "train":
        from tracin_core.training.loop import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
