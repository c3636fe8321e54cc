"""Checkpoints: saved weights, and the learning rate in force where they were saved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import CheckpointError
from tracin_core.influence.checkpoint_files import read_content
from tracin_core.influence.checkpoint_names import fit_to_model
from tracin_core.influence.checkpoint_progress import Progress, find_progress
from tracin_core.influence.checkpoint_states import find_state
from tracin_core.influence.parameter_groups import map_groups
from tracin_core.influence.rates import Rate, assign_rates, collapse


@dataclass(frozen=True)
class Checkpoint:
    """Saved weights of a model at one step of its training.

    Attributes:
        weights: A torch or safetensors file, an index of shards, a folder as ``transformers``
            writes them, a state dict or a module; nested under a usual key or with a prefix, as
            Lightning and other programs keep it.
        learning_rate: Step size in force there: one number, or where parameters had different
            ones, numbers by parameter name or module prefix (the longest that fits wins, ``""``
            fits all); ``None`` reads it from the file.
        step: Training step, for messages and charts.
    """

    weights: str | Path | Mapping[str, Any] | nn.Module
    learning_rate: Rate | None = None
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


def refuse_broken(weights: Mapping[str, Tensor], trainable: Collection[str], title: str) -> None:
    """Refuse weights that are not numbers, before anything is computed with them.

    Args:
        weights: All tensors by name.
        trainable: Names of the trained ones, which cannot be infinite; a mask can.
        title: How messages name the checkpoint.

    Raises:
        CheckpointError: If a tensor has no numbers, or holds NaN, or a trained one infinity; it
            names the first.
    """
    for name, value in weights.items():
        if value.is_meta:
            raise CheckpointError(
                f"Checkpoint {title} holds no numbers in {name}, only its shape (the device "
                "'meta'); expected weights. Save the state dict of the model that was trained."
            )
        if not (value.is_floating_point() or value.is_complex()):
            continue
        if value.dtype.itemsize == 1:  # of which torch makes no sums
            value = value.float()
        # One sum tells that all are finite, in a tenth of the time of asking each.
        if bool(torch.isfinite(value.sum(dtype=_wide(value.dtype)))):
            continue
        for is_broken, what in ((value.isnan(), "NaN"), (value.isinf(), "infinity")):
            count = int(is_broken.sum())
            if count and (what == "NaN" or name in trainable):
                raise CheckpointError(
                    f"Checkpoint {title} holds {what} in {name}: {count:,} of {value.numel():,} "
                    "numbers. Expected finite weights, because nothing that is computed with "
                    "them would be a number. Leave the checkpoint out, or take an earlier one: "
                    "the training has diverged there."
                )


def _wide(kind: torch.dtype) -> torch.dtype:
    return torch.complex128 if kind.is_complex else torch.float64


def read_rate(checkpoint: Checkpoint, model: nn.Module) -> Rate:
    """Return the learning rate given, or recorded in the file or beside it.

    Args:
        checkpoint: Where a rate is given, or a file or folder that may have one.
        model: The model, whose parameters may have different rates.

    Returns:
        The rate of all trainable parameters, or where they differ rates by name.

    Raises:
        CheckpointError: If it is nowhere, is negative or not finite, lacks a parameter, or
            differs between parameter groups whose parameters cannot be told.
    """
    rate = checkpoint.learning_rate
    if rate is None:
        path = Path(checkpoint.weights) if isinstance(checkpoint.weights, str | Path) else None
        rate = _choose_rate(checkpoint, find_progress(_read(checkpoint), path), model)
    by_name = isinstance(rate, Mapping)
    for name, value in rate.items() if isinstance(rate, Mapping) else [("", rate)]:
        if not 0 <= value < float("inf"):
            place = f" for {name!r}" if by_name else ""
            raise CheckpointError(
                f"Checkpoint {checkpoint.title} has the learning rate {value}{place}; expected a "
                "finite number, zero or more. Pass the step size that was in force at this step."
            )
    if isinstance(rate, Mapping):
        floats = {name: float(value) for name, value in rate.items()}
        return assign_rates(floats, model, checkpoint.title)
    return float(rate)


def _choose_rate(checkpoint: Checkpoint, progress: Progress, model: nn.Module) -> Rate:
    recorded = progress.learning_rates
    if len(recorded) == 1:
        return recorded[0]
    mapped = map_groups(progress.groups, model) if progress.groups else None
    if mapped is not None:
        return collapse(mapped)
    if not recorded:
        raise CheckpointError(
            f"Checkpoint {checkpoint.title} has no learning rate; expected one. Pass "
            "Checkpoint(..., learning_rate=0.1), or TracIn(..., rates='ones') to ignore "
            "learning rates, which often ranks as well or better."
        )
    top = dict.fromkeys(name.partition(".")[0] for name, _ in model.named_parameters())
    example = ", ".join(f'"{n}": {r}' for n, r in zip(reversed(top), recorded, strict=False))
    raise CheckpointError(
        f"Checkpoint {checkpoint.title} has the learning rates {', '.join(map(str, recorded))} of "
        "different parameter groups, and not which parameters are in each; expected one rate, or "
        f"a rate for each parameter. Pass Checkpoint(..., learning_rate={{{example}}}), with "
        "parameter names or module prefixes; or TracIn(..., rates='ones') to ignore learning rates."
    )


def _read(checkpoint: Checkpoint) -> Mapping[str, Any]:
    if isinstance(checkpoint.weights, Mapping):
        return checkpoint.weights
    if isinstance(checkpoint.weights, nn.Module):
        return checkpoint.weights.state_dict()
    return read_content(Path(checkpoint.weights))
