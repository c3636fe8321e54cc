"""Learning rates: one for each checkpoint, or one for each of its parameters.

They are given by name and prefix (``assign_rates``), or read with the step from the file or a
Trainer's log beside it (``find_progress``). A saved optimizer numbers the parameters of its groups
and leaves their names out, so ``map_groups`` gives rates where shapes and order leave no doubt.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.checkpoints.formats import (
    SHARDS,
    TRAINER_STATE,
    WEIGHT_FILES,
    read_json,
    read_torch,
)
from tracin_core.errors import CheckpointError

# With so few tensors, adding one after the other takes less than stacking them.
FEW_TENSORS = 8
# One rate for all parameters, or a rate for each trainable one by name.
Rate = float | Mapping[str, float]


class Rates:
    """The rate of every trainable parameter at every checkpoint.

    Args:
        values: For each checkpoint one rate, or rates by parameter name.
    """

    def __init__(self, values: Sequence[Rate]) -> None:
        self._values = tuple(values)

    def of(self, checkpoint: int, name: str) -> float:
        """Return the rate of one parameter."""
        value = self._values[checkpoint]
        return value[name] if isinstance(value, Mapping) else value

    def common(self, checkpoint: int) -> float | None:
        """Return the one rate of all parameters, or ``None`` where they differ."""
        value = self._values[checkpoint]
        return None if isinstance(value, Mapping) else value

    @property
    def are_common(self) -> bool:
        """Whether every checkpoint has one rate for all parameters."""
        return all(not isinstance(value, Mapping) for value in self._values)

    def as_tensor(self, dtype: torch.dtype) -> Tensor:
        """Return the common rates, shape ``(C,)``, NaN where parameters differ."""
        common = [self.common(index) for index in range(len(self._values))]
        return torch.tensor([math.nan if r is None else r for r in common], dtype=dtype)

    def weigh(self, checkpoint: int, norms: Mapping[str, Tensor]) -> Tensor:
        """Return ``sum_p rate_p norms_p`` over the named parameters, shape as theirs.

        Args:
            checkpoint: Index of the checkpoint.
            norms: For each of one or more parameters, a number for each example.
        """
        common = self.common(checkpoint)
        if common is not None:
            return common * sum_tensors(norms.values())
        return sum_tensors(self.of(checkpoint, name) * values for name, values in norms.items())


def check_rates(rates: Sequence[Rate], titles: Sequence[str]) -> None:
    """Refuse rates that are zero at every checkpoint, and say where some are.

    Args:
        rates: Of each checkpoint.
        titles: How messages name each.

    Raises:
        CheckpointError: If all of them are zero: every score would be.
    """
    zero = [
        title
        for rate, title in zip(rates, titles, strict=True)
        if not any(rate.values() if isinstance(rate, Mapping) else [rate])
    ]
    if not zero:
        return
    why = (
        "A file records the rate with which the training was to go on, which a schedule that has "
        "come to its end makes zero."
    )
    shown = ", ".join(zero[:4]) + (", ..." if len(zero) > 4 else "")
    if len(zero) == len(rates):
        raise CheckpointError(
            f"Found the learning rate 0 at every checkpoint ({shown}): every score would be 0. "
            f"{why} Pass the rate that was in force, Checkpoint(..., learning_rate=0.1), or "
            "TracIn(..., rates='ones') to ignore learning rates."
        )
    warnings.warn(
        f"Found the learning rate 0 at {len(zero)} of {len(rates)} checkpoints ({shown}), which "
        f"add nothing to any score. {why} Leave them out, pass their rates, or ignore learning "
        "rates with rates='ones'.",
        RuntimeWarning,
        stacklevel=3,
    )


def sum_tensors(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of one or more tensors of one shape."""
    first, *others = tensors
    if len(others) < FEW_TENSORS:
        return sum(others, start=first)
    # Two operations however many tensors there are, which a GPU is given one by one.
    return torch.stack([first, *others]).sum(0)


def assign_rates(given: Mapping[str, float], model: nn.Module, title: str) -> Rate:
    """Return the rate of every trainable parameter from rates of names and prefixes.

    Args:
        given: Rates by parameter name or module prefix (``"encoder"`` stands for all that begin
            with ``"encoder."``); the longest that fits wins, ``""`` fits everything.
        model: The model.
        title: How messages name the checkpoint.

    Returns:
        Rates by name, or the one rate that all parameters have.

    Raises:
        CheckpointError: If a trainable parameter has no rate or two, or a name fits nothing.
    """
    names = _list_names(model)
    _refuse_unknown(given, [name for known in names.values() for name in known], title)
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    candidates = {name: _find_rates(given, names[name]) for name in trainable}
    missing = [name for name, rates in candidates.items() if not rates]
    if missing:
        raise CheckpointError(
            f"Checkpoint {title} has no learning rate for {_shorten(missing)}; expected one for "
            "each trainable parameter. Name it or a module that holds it, or give all others "
            'one with "": learning_rate={"head": 0.1, "": 0.01}.'
        )
    torn = [name for name, rates in candidates.items() if len(rates) > 1]
    if torn:
        raise CheckpointError(
            f"Checkpoint {title} has several learning rates for {torn[0]}, which is one weight "
            f"under the names {_shorten(names[torn[0]])}; expected one. Give all of its names "
            "the same rate."
        )
    return merge_equal_rates({name: rates.pop() for name, rates in candidates.items()})


def merge_equal_rates(rates: Mapping[str, float]) -> Rate:
    """Return rates by name, or the one rate that all have."""
    different = set(rates.values())
    return different.pop() if len(different) == 1 else dict(rates)


def _list_names(model: nn.Module) -> dict[str, list[str]]:
    """Return all names of each parameter, by the first of them."""
    names: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return {known[0]: known for known in names.values()}


def _find_rates(given: Mapping[str, float], names: Sequence[str]) -> set[float]:
    """Return the different rates that a parameter's names lead to; ``""`` is the last resort."""
    fitting = [[key for key in given if key and _fits(key, name)] for name in names]
    found = {given[max(keys, key=len)] for keys in fitting if keys}
    return found or ({given[""]} if "" in given else set())


def _fits(key: str, name: str) -> bool:
    return not key or name == key or name.startswith(f"{key}.")


def _refuse_unknown(given: Mapping[str, float], names: Sequence[str], title: str) -> None:
    unknown = [key for key in given if not any(_fits(key, name) for name in names)]
    if unknown:
        raise CheckpointError(
            f"Checkpoint {title} has a learning rate for {_shorten(unknown)}, which the model has "
            "not; expected parameters or modules as in model.named_parameters(), such as "
            f"{_shorten(names)}. Mend the name."
        )


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (", ..." if len(names) > 4 else "")


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
class TrainingProgress:
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


def find_progress(content: Mapping[str, Any], path: Path | None = None) -> TrainingProgress:
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
        return TrainingProgress(single, step, plain.get("epoch"))
    optimizer = next((content[k] for k in OPTIMIZER_KEYS if _collect_rates([content.get(k)])), None)
    return TrainingProgress(
        _collect_rates([optimizer]), step, plain.get("epoch"), _collect_groups(optimizer)
    )


def _find_trainer_folder(path: Path | None) -> Path | None:
    if path is None:
        return None
    known = path.name.removesuffix(".index.json") in WEIGHT_FILES or SHARDS.search(path.name)
    folder = path if path.is_dir() else path.parent if known else None
    return folder if folder is not None and (folder / TRAINER_STATE).is_file() else None


def _read_trainer(folder: Path) -> TrainingProgress:
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
    return TrainingProgress(
        rates, None if step is None else int(step), epoch, _collect_groups(saved)
    )


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


# What optimizers keep for each parameter in the parameter's own shape.
SAME_SHAPE_KEYS = (
    "momentum_buffer",
    "exp_avg",
    "exp_avg_sq",
    "exp_inf",
    "square_avg",
    "sum",
    "prev",
    "acc_delta",
    "ax",
)
# Orders of more groups are not tried out: 6! is 720.
MOST_GROUPS = 6

Shapes = Sequence[torch.Size | None]


@dataclass(frozen=True)
class ParameterGroup:
    """One group of a saved optimizer.

    Attributes:
        rate: Its learning rate.
        shapes: Of each of its parameters, where the optimizer kept something of that shape.
        names: Of each, where the optimizer was made with names (torch 2.6); else empty.
    """

    rate: float
    shapes: tuple[torch.Size | None, ...]
    names: tuple[str, ...] = ()


def read_groups(optimizer: Mapping[str, Any], rates: Sequence[float]) -> list[ParameterGroup]:
    """Return the groups of an optimizer's state dict.

    Args:
        optimizer: With ``param_groups`` and ``state``.
        rates: The rate of each group.
    """
    state = optimizer.get("state")
    kept = state if isinstance(state, Mapping) else {}
    groups = []
    for group, rate in zip(optimizer["param_groups"], rates, strict=True):
        numbers = group.get("params", ())
        names = tuple(map(str, group.get("param_names", ())))
        shapes = tuple(_find_shape(kept.get(number)) for number in numbers)
        groups.append(ParameterGroup(rate, shapes, names if len(names) == len(shapes) else ()))
    return groups


def map_groups(groups: Sequence[ParameterGroup], model: nn.Module) -> dict[str, float] | None:
    """Return each trainable parameter's rate, if the groups leave no doubt.

    Names decide where the optimizer has them. Else the groups must hold as many parameters as
    the model, in its order within each group, and the shapes that the optimizer kept must fit in
    one order of the groups only; or every shape must have one rate. A plain SGD keeps no shapes.

    Args:
        groups: Of one optimizer.
        model: The model.

    Returns:
        Rates by name; ``None`` where there is a doubt.
    """
    if all(group.names for group in groups):
        return _map_by_names(groups, model)
    everything = list(model.named_parameters())
    trainable = [(name, value) for name, value in everything if value.requires_grad]
    for parameters in (everything, trainable):
        names = [name for name, _ in parameters]
        shapes = [value.shape for _, value in parameters]
        if len(names) == sum(len(group.shapes) for group in groups):
            rates = _rate_by_order(groups, shapes) or _rate_by_shape(groups, shapes)
            wanted = {name for name, _ in trainable}
            if rates is not None:
                return {n: r for n, r in zip(names, rates, strict=True) if n in wanted}
    return None


def _map_by_names(groups: Sequence[ParameterGroup], model: nn.Module) -> dict[str, float] | None:
    named = {name: group.rate for group in groups for name in group.names}
    wanted = [name for name, value in model.named_parameters() if value.requires_grad]
    for prefix in _find_prefixes(named, wanted):
        if all(prefix + name in named for name in wanted):
            return {name: named[prefix + name] for name in wanted}
    return None


def _find_prefixes(named: Mapping[str, float], wanted: Sequence[str]) -> Iterator[str]:
    """Yield what a wrapper, such as a Lightning module, may have put before the names."""
    yield ""
    yield from (key.removesuffix(wanted[0]) for key in named if key.endswith(f".{wanted[0]}"))


def _rate_by_order(
    groups: Sequence[ParameterGroup], shapes: Sequence[torch.Size]
) -> tuple[float, ...] | None:
    """Return the rates by parameter in the one order of the groups in which all shapes fit."""
    if len(groups) > MOST_GROUPS:
        return None
    fitting = set()
    for order in permutations(groups):
        kept = [shape for group in order for shape in group.shapes]
        if all(a is None or a == b for a, b in zip(kept, shapes, strict=True)):
            fitting.add(tuple(group.rate for group in order for _ in group.shapes))
    return fitting.pop() if len(fitting) == 1 else None


def _rate_by_shape(
    groups: Sequence[ParameterGroup], shapes: Sequence[torch.Size]
) -> tuple[float, ...] | None:
    """Return the rates by parameter where equal shapes have equal rates, in whatever order."""
    pairs = [(shape, group.rate) for group in groups for shape in group.shapes]
    rates = dict(pairs)
    if len(set(pairs)) > len(rates) or Counter(s for s, _ in pairs) != Counter(shapes):
        return None
    return tuple(rates[shape] for shape in shapes)


def _find_shape(kept: Any) -> torch.Size | None:
    values = [kept.get(key) for key in SAME_SHAPE_KEYS] if isinstance(kept, Mapping) else []
    return next((value.shape for value in values if isinstance(value, Tensor)), None)
