"""Checkpoints: saved weights, and the learning rate in force where they were saved."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import CheckpointError

# Where training programs put the state dict, and what they wrap the model in.
NESTED_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "module")
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.")
RATE_KEYS = ("learning_rate", "lr")


@dataclass(frozen=True)
class Checkpoint:
    """Saved weights of a model at one step of its training.

    Attributes:
        weights: A file (torch or safetensors) or a state dict.
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
        checkpoint: A file or state dict; nested under a usual key or with a usual prefix.
        model: The model it must fit.

    Returns:
        The model's parameters and saved buffers by name, tied weights under their first name.

    Raises:
        CheckpointError: If it cannot be read, or its names or shapes do not fit.
    """
    state = _find_state(_read(checkpoint), checkpoint)
    expected = model.state_dict()
    state = _strip_prefix(state, expected)
    _check_fit(state, expected, checkpoint)
    first_names = {name for name, _ in model.named_parameters()}
    first_names |= {name for name, _ in model.named_buffers()}
    return {name: state[name].detach() for name in expected if name in first_names}


def read_learning_rate(checkpoint: Checkpoint) -> float:
    """Return the learning rate given, or recorded in the file.

    Raises:
        CheckpointError: If it is nowhere, negative or not finite.
    """
    rate = checkpoint.learning_rate
    if rate is None:
        content = _read(checkpoint)
        found = [content[key] for key in RATE_KEYS if isinstance(content.get(key), int | float)]
        if not found:
            raise CheckpointError(
                f"Checkpoint {checkpoint.title} has no learning rate; expected one. Pass "
                "Checkpoint(..., learning_rate=0.1), or TracIn(..., rates='ones') to ignore "
                "learning rates, which often ranks as well or better."
            )
        rate = float(found[0])
    if not 0 <= rate < float("inf"):
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} has the learning rate {rate}; expected a finite "
            "number, zero or more. Pass the step size that was in force at this step."
        )
    return float(rate)


def _read(checkpoint: Checkpoint) -> Mapping[str, Any]:
    if isinstance(checkpoint.weights, Mapping):
        return checkpoint.weights
    path = Path(checkpoint.weights)
    if not path.is_file():
        raise CheckpointError(
            f"Checkpoint file {path} does not exist; expected a file written by torch.save or "
            "safetensors. Check the path, or train again to write it."
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"Checkpoint file {path} holds a {type(content).__name__}; expected a state dict. "
            "Save model.state_dict() instead of the model."
        )
    return content


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"Checkpoint file {path} cannot be read safely ({str(error).splitlines()[0]}). "
            "Expected a whole file with tensors and plain values only; files that would run "
            "code are refused. Save model.state_dict() with torch.save again."
        ) from error


def _read_safetensors(path: Path) -> Any:
    if find_spec("safetensors") is None:
        raise CheckpointError(
            f"Checkpoint file {path} needs the package safetensors, which is not installed. "
            "Install it with: pip install safetensors"
        )
    errors = import_module("safetensors").SafetensorError  # an optional package
    try:
        return import_module("safetensors.torch").load_file(path)
    except (errors, OSError) as error:
        raise CheckpointError(
            f"Checkpoint file {path} is no sound safetensors file ({error}). Expected a whole "
            "file. Copy or save it again."
        ) from error


def _find_state(content: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Tensor]:
    for key in NESTED_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            return _find_state(inner, checkpoint)
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} holds {keys} but no weights; expected a state dict, "
            f"or one under {', '.join(NESTED_KEYS)}. Pass the state dict itself."
        )
    return state


def _strip_prefix(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrappers (DataParallel, Lightning, compile) put before every name."""
    if set(state) >= set(expected):
        return state
    for prefix in PREFIXES:
        inner = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
        if set(inner) >= set(expected):
            return inner
        deeper = _strip_prefix(inner, expected) if inner and len(inner) == len(state) else {}
        if set(deeper) >= set(expected):
            return deeper
    return state


def _check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], checkpoint: Checkpoint
) -> None:
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not part of the model" for name in state if name not in expected]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, the model {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        shown = "; ".join(problems[:4]) + ("; ..." if len(problems) > 4 else "")
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} does not fit the model: {shown}. Expected the same "
            "names and shapes as model.state_dict(). Build the model with the options it was "
            "trained with."
        )
