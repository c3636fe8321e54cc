"""Which parameters a saved optimizer's groups hold; the file numbers them, without names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

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
