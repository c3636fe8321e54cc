"""Which rule gives the per-example gradients of which layer.

A rule for a new layer is one new file that registers itself; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from tracin_core.gradients.contributions import Contribution

# (layer, arguments of the call, gradients at the output) -> contribution for each parameter.
RuleFunction = Callable[[Any, tuple[Any, ...], Tensor], dict[str, Contribution]]
RefusalFunction = Callable[[Any], str | None]
F = TypeVar("F", bound=RuleFunction)


class UnsupportedUseError(Exception):
    """A rule met a call that it cannot follow; the planner then takes the fallback."""


@dataclass(frozen=True)
class Rule:
    """How to get the per-example gradients of one layer type.

    Attributes:
        layer_type: The type it was written for.
        function: Takes the layer, the positional arguments of its call and the gradients at
            its output ``(B, ...)``; returns one contribution for each parameter by local name.
        refuses: Says why a layer's options are beyond the rule, or ``None``.
        takes_half: Whether it deals with half precision itself; else it is given single.
    """

    layer_type: type[nn.Module]
    function: RuleFunction
    refuses: RefusalFunction
    takes_half: bool = False


_RULES: dict[type[nn.Module], Rule] = {}


def gradient_rule(
    *layer_types: type[nn.Module],
    refuses: RefusalFunction = lambda layer: None,
    takes_half: bool = False,
) -> Callable[[F], F]:
    """Register the decorated function as the rule for ``layer_types``.

    Args:
        layer_types: The types it covers.
        refuses: Given a layer, returns why its options are beyond the rule, or ``None``.
        takes_half: Whether the rule deals with half precision itself.

    Returns:
        The decorator, which leaves the function as it is.
    """

    def register(function: F) -> F:
        for layer_type in layer_types:
            _RULES[layer_type] = Rule(layer_type, function, refuses, takes_half)
        return function

    return register


def find_rule(layer: nn.Module) -> Rule | str:
    """Return the rule that covers a layer, or the reason why none does.

    A subclass is covered only if it kept the ``forward`` that the rule was written for, and a
    layer only if its parameters are the ones that ``forward`` reads: weight normalisation, for
    one, replaces ``weight`` by two others.
    """
    for ancestor, rule in _RULES.items():
        if not isinstance(layer, ancestor):
            continue
        if _forward_of(type(layer)) is not _forward_of(ancestor):
            return f"{type(layer).__name__} has a forward of its own"
        names = {name for name, value in layer._parameters.items() if value is not None}
        if not names <= {"weight", "bias"} or "weight" not in names:
            return f"its parameters are {', '.join(sorted(names))}, not weight and bias"
        return rule.refuses(layer) or rule
    return f"no rule for {type(layer).__name__}"


def _forward_of(layer_type: type[nn.Module]) -> Callable[..., Any]:
    forward: Callable[..., Any] = layer_type.forward
    return forward
