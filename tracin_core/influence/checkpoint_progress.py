"""Where in its training a checkpoint was saved, and with which learning rate."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from torch import Tensor

from tracin_core.influence.checkpoint_files import (
    SHARDS,
    TRAINER_STATE,
    WEIGHT_FILES,
    read_json,
    read_torch,
)
from tracin_core.influence.parameter_groups import ParameterGroup, read_groups

RATE_KEYS = ("learning_rate", "lr")
# Lightning; then what PyTorch's own examples, timm, fairseq and others call it.
OPTIMIZER_KEYS = (
    "optimizer_states",
    "optimizer_state_dict",
    "optimizer_state",
    "optimizer",
    "optim_state_dict",
    "optim",
    "opt",
)
STEP_KEYS = ("global_step", "step", "iteration", "iter_num", "iter")
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Progress:
    """Where in its training a checkpoint was saved.

    Attributes:
        learning_rates: Different rates recorded there, in the order of the parameter groups;
            empty where the file has none, more than one where the groups differ.
        step: Optimizer steps so far.
        epoch: Epochs so far, as the writer counts them.
        groups: The optimizer's parameter groups, where there are several of one optimizer.
    """

    learning_rates: tuple[float, ...] = ()
    step: int | None = None
    epoch: float | None = None
    groups: tuple[ParameterGroup, ...] = ()


def find_progress(content: Mapping[str, Any], path: Path | None = None) -> Progress:
    """Find the learning rate and step beside the weights, or in the files next to them.

    The rate in an optimizer's state is that with which training goes on from there: a schedule
    that has stepped before the file was written has changed it already.

    Args:
        content: What the file holds.
        path: The file or folder; beside a Trainer's weights lie its state and its optimizer.
    """
    folder = _find_trainer_folder(path)
    if folder is not None:
        return _read_trainer(folder)
    # A tensor of such a name beside the weights is one of them, not a record.
    plain = {key: _as_number(v) for key, v in content.items() if not isinstance(v, Tensor)}
    rates = [plain[key] for key in RATE_KEYS if plain.get(key) is not None]
    steps = [plain[key] for key in STEP_KEYS if plain.get(key) is not None]
    step = next((int(step) for step in steps if step is not None), None)
    single = tuple(rate for rate in rates[:1] if rate is not None)
    if single:
        return Progress(single, step, plain.get("epoch"))
    optimizer = next((content[k] for k in OPTIMIZER_KEYS if _collect_rates([content.get(k)])), None)
    return Progress(
        _collect_rates([optimizer]), step, plain.get("epoch"), _collect_groups(optimizer)
    )


def _find_trainer_folder(path: Path | None) -> Path | None:
    if path is None:
        return None
    known = path.name.removesuffix(".index.json") in WEIGHT_FILES or SHARDS.search(path.name)
    folder = path if path.is_dir() else path.parent if known else None
    return folder if folder is not None and (folder / TRAINER_STATE).is_file() else None


def _read_trainer(folder: Path) -> Progress:
    """Read a Trainer's own log; its optimizer already has the rate of the step to come."""
    state = read_json(folder / TRAINER_STATE)
    step, epoch = _as_number(state.get("global_step")), _as_number(state.get("epoch"))
    history = state.get("log_history")
    logged: dict[float, float] = {}
    for entry in history if isinstance(history, list) else []:
        at, rate = _as_number(entry.get("step")), _as_number(entry.get("learning_rate"))
        if at is not None and rate is not None and (step is None or at <= step):
            logged[at] = rate
    optimizer = folder / "optimizer.pt"
    saved = read_torch(optimizer) if optimizer.is_file() else None
    rates = _collect_rates([saved])
    if step in logged and len(rates) < 2:
        rates = (logged[step],)
    elif not rates and logged:
        # An older entry is the last resort: the schedule has moved on since.
        rates = (logged[max(logged)],)
    return Progress(rates, None if step is None else int(step), epoch, _collect_groups(saved))


def _collect_groups(optimizer: Any) -> tuple[ParameterGroup, ...]:
    """Return the groups of a single optimizer, if each has a rate."""
    if isinstance(optimizer, list | tuple) and len(optimizer) == 1:
        (optimizer,) = optimizer
    if not isinstance(optimizer, Mapping):
        return ()
    rates = [_as_number(group.get("lr")) for group in _find_groups(optimizer)]
    known = [rate for rate in rates if rate is not None]
    return tuple(read_groups(optimizer, known)) if len(known) == len(rates) > 1 else ()


def _collect_rates(states: list[Any]) -> tuple[float, ...]:
    """Return the different rates of all parameter groups, in their order."""
    found = [_as_number(group.get("lr")) for group in _find_groups(states)]
    return tuple(dict.fromkeys(rate for rate in found if rate is not None))


def _find_groups(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _find_groups(item)
    elif isinstance(value, Mapping):
        groups = value.get("param_groups")
        yield from (g for g in groups or () if isinstance(g, Mapping))


def _as_number(value: Any) -> float | None:
    """Return a number, also one in a tensor or (as safetensors headers have it) in text."""
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 else None
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else None
    is_number = isinstance(value, Real) and not isinstance(value, bool)  # NumPy's are Real, too
    return None if not is_number or math.isnan(value) else float(value)
