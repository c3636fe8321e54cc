"""Which parameters are covered, by which rule or by the fallback, and which are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

CoverageMethod = Literal["rule", "torch.func", "one example at a time", "frozen", "not chosen"]
COVERED: tuple[CoverageMethod, ...] = ("rule", "torch.func", "one example at a time")


@dataclass(frozen=True)
class ParameterCoverage:
    """How one parameter is treated.

    Attributes:
        name: As in ``model.named_parameters()``.
        size: Numbers in it.
        method: A rule, one of the two fallbacks, or why it is left out: it is frozen
            (``requires_grad`` is false), or it belongs to no chosen layer.
        reason: The rule's layer type, or why no rule applies.
    """

    name: str
    size: int
    method: CoverageMethod
    reason: str


@dataclass(frozen=True)
class Coverage:
    """How every parameter of a model is treated.

    Attributes:
        parameters: One entry for each parameter, in the model's order.
        confirmed: Whether this was checked on examples (against autograd, one example at a
            time). Before the first examples it is what the layers' types promise.
    """

    parameters: tuple[ParameterCoverage, ...]
    confirmed: bool

    def __iter__(self) -> Iterator[ParameterCoverage]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, name: str) -> ParameterCoverage:
        for entry in self.parameters:
            if entry.name == name:
                return entry
        raise KeyError(name)

    @property
    def covered(self) -> tuple[str, ...]:
        """Names of the parameters that the scores stand on."""
        return tuple(entry.name for entry in self.parameters if entry.method in COVERED)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the parameters that the scores know nothing of."""
        return tuple(entry.name for entry in self.parameters if entry.method not in COVERED)

    def __str__(self) -> str:
        width = max((len(entry.name) for entry in self.parameters), default=0)
        lines = [
            f"{entry.name:{width}}  {entry.size:>12,}  {entry.method}: {entry.reason}"
            for entry in self.parameters
        ]
        return "\n".join(lines)
