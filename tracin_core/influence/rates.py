"""Learning rates: one for each checkpoint, or one for each of its parameters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

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
            return common * add_up(norms.values())
        return add_up(self.of(checkpoint, name) * values for name, values in norms.items())


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


def add_up(tensors: Iterable[Tensor]) -> Tensor:
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
    found = {name: _find_rates(given, names[name]) for name in trainable}
    missing = [name for name, rates in found.items() if not rates]
    if missing:
        raise CheckpointError(
            f"Checkpoint {title} has no learning rate for {_shorten(missing)}; expected one for "
            "each trainable parameter. Name it or a module that holds it, or give all others "
            'one with "": learning_rate={"head": 0.1, "": 0.01}.'
        )
    torn = [name for name, rates in found.items() if len(rates) > 1]
    if torn:
        raise CheckpointError(
            f"Checkpoint {title} has several learning rates for {torn[0]}, which is one weight "
            f"under the names {_shorten(names[torn[0]])}; expected one. Give all of its names "
            "the same rate."
        )
    return collapse({name: rates.pop() for name, rates in found.items()})


def collapse(rates: Mapping[str, float]) -> Rate:
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
