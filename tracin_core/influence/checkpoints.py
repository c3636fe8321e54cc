"""Checkpoints: saved weights, and the learning rate in force where they were saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tracin_core.errors import CheckpointError
from tracin_core.influence.checkpoint_files import read_content
from tracin_core.influence.checkpoint_names import find_state, fit_to_model
from tracin_core.influence.checkpoint_progress import find_progress


@dataclass(frozen=True)
class Checkpoint:
    """Saved weights of a model at one step of its training.

    Attributes:
        weights: A torch or safetensors file, an index of shards, a folder as ``transformers``
            writes them, or a state dict; nested under a usual key or with a prefix, as
            Lightning and other programs keep it.
        learning_rate: Step size in force there; ``None`` reads it from the file.
        step: Training step, for messages and charts.
    """

    weights: str | Path | Mapping[str, Any]
    learning_rate: float | None = None
    step: int | None = None

    @property
    def title(self) -> str:
        """How messages name this checkpoint."""
        step = "" if self.step is None else f"step {self.step}"
        if isinstance(self.weights, str | Path):
            name = Path(self.weights).name
            return f"{name} ({step})" if step else name
        return step or "a state dict"


def read_weights(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Read a checkpoint and fit it to a model; nothing is ever unpickled.

    Args:
        checkpoint: A file, folder or state dict.
        model: The model it must fit.

    Returns:
        The model's parameters and saved buffers by name, tied weights under their first name.

    Raises:
        CheckpointError: If it cannot be read, or its names or shapes do not fit.
    """
    state = find_state(_read(checkpoint), checkpoint.title)
    return fit_to_model(state, model, checkpoint.title)


def read_learning_rate(checkpoint: Checkpoint) -> float:
    """Return the learning rate given, or recorded in the file or beside it.

    Raises:
        CheckpointError: If it is nowhere, differs between parameter groups, is negative or not
            finite.
    """
    rate = checkpoint.learning_rate
    if rate is None:
        path = Path(checkpoint.weights) if isinstance(checkpoint.weights, str | Path) else None
        rate = _choose_rate(checkpoint, find_progress(_read(checkpoint), path).learning_rates)
    if not 0 <= rate < float("inf"):
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} has the learning rate {rate}; expected a finite "
            "number, zero or more. Pass the step size that was in force at this step."
        )
    return float(rate)


def _choose_rate(checkpoint: Checkpoint, recorded: tuple[float, ...]) -> float:
    if len(recorded) == 1:
        return recorded[0]
    found = f"the learning rates {', '.join(map(str, recorded))} of different parameter groups"
    raise CheckpointError(
        f"Checkpoint {checkpoint.title} has {found if recorded else 'no learning rate'}; expected "
        "one. Pass Checkpoint(..., learning_rate=0.1), or TracIn(..., rates='ones') to ignore "
        "learning rates, which often ranks as well or better."
    )


def _read(checkpoint: Checkpoint) -> Mapping[str, Any]:
    if isinstance(checkpoint.weights, Mapping):
        return checkpoint.weights
    return read_content(Path(checkpoint.weights))
