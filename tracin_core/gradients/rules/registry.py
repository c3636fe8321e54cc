"""The registry of gradient rules: which rule gives the per-example gradients of which layer.

A rule for a new layer is one new file that registers itself; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.gradients.factored import Contribution, Dense

# (layer, arguments of the call, gradients at the output) -> the gradients of each parameter.
RuleFunction = Callable[[Any, tuple[Any, ...], Tensor], Mapping[str, Tensor | Contribution]]
RefusalFunction = Callable[[Any], str | None]
# (arguments for the rule, a result in the gradient graph, local names of its parameters)
Record = Callable[[tuple[Any, ...], Tensor, Sequence[str]], None]
# (layer, record) -> what stands in for the layer's forward while a batch is recorded.
ExposingFunction = Callable[[Any, Record], Callable[..., Any]]
F = TypeVar("F", bound=Callable[..., Any])

_OURS = __name__.split(".")[0]


class UnsupportedUseError(Exception):
    """A rule met a call that it cannot follow; the planner then takes the fallback."""


@dataclass(frozen=True)
class Rule:
    """How to get the per-example gradients of one layer type.

    Attributes:
        layer_type: The type it was written for.
        function: Takes the layer, the positional arguments of its call and the gradients at
            its output ``(B, ...)``; returns the gradients of each parameter by local name.
        refuses: Says why a layer's options are beyond the rule, or ``None``.
        takes_half: Whether it deals with half precision itself; else it is given single.
        parameters: Local names of the parameters that it knows; the first is always there.
        exposes: Gives a forward that records results within the layer, for the rule to be applied
            to instead of the layer's output.
    """

    layer_type: type[nn.Module]
    function: RuleFunction
    refuses: RefusalFunction
    takes_half: bool = False
    parameters: tuple[str, ...] = ("weight", "bias")
    exposes: ExposingFunction | None = None

    @property
    def name(self) -> str:
        """Module and function, as messages name it."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with this library, and not from whoever uses it."""
        return self.function.__module__.split(".")[0] == _OURS

    def differentiate(
        self, layer: nn.Module, arguments: tuple[Any, ...], deltas: Tensor, wanted: Sequence[str]
    ) -> dict[str, Contribution]:
        """Return what a call of a layer contributes to its parameters.

        Args:
            layer: The layer.
            arguments: Positional arguments of the call.
            deltas: Gradients at its output, one row for each of B examples.
            wanted: Local names of the parameters.

        Raises:
            UnsupportedUseError: If the rule cannot follow the call.
            GradientError: If it does not return what a rule has to.
        """
        found = self.function(layer, arguments, deltas)
        if not isinstance(found, Mapping):
            raise self._refuse(f"returned a {type(found).__name__}", "a dict by parameter name")
        return {
            name: self._read(found.get(name), name, layer._parameters[name], len(deltas))
            for name in wanted
        }

    def _read(self, found: object, name: str, parameter: Tensor | None, size: int) -> Contribution:
        if isinstance(found, Contribution):
            return found
        shape = () if parameter is None else parameter.shape
        expected = (
            f"gradients of shape {(size, *shape)}, one for each of {size} examples, or the "
            "factors of such gradients (Outer)"
        )
        if not isinstance(found, Tensor):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise self._refuse(f"returned {what} for {name!r}", expected)
        if parameter is None or found.shape != (size, *parameter.shape):
            raise self._refuse(f"returned shape {tuple(found.shape)} for {name!r}", expected)
        return Dense(found.detach(), parameter.shape)

    def _refuse(self, found: str, expected: str) -> GradientError:
        return GradientError(
            f"The gradient rule {self.name} for {self.layer_type.__name__} {found}; expected "
            f"{expected}. Mend the rule: check_gradient_rule(layer, inputs) tries it alone."
        )


_RULES: dict[type[nn.Module], Rule] = {}


def gradient_rule(
    *layer_types: type[nn.Module],
    refuses: RefusalFunction = lambda layer: None,
    takes_half: bool = False,
    parameters: Sequence[str] = ("weight", "bias"),
    exposes: ExposingFunction | None = None,
) -> Callable[[F], F]:
    """Register the decorated function as the rule for ``layer_types``.

    The function takes the layer, the positional arguments of its call and the gradients at its
    output ``(B, ...)``. It returns a dict with the gradients of every example for each parameter
    by its name in the layer: a tensor ``(B, *shape)``, or their factors (``Outer``). It raises
    ``UnsupportedUseError`` where it cannot follow the call. What it returns is compared with
    autograd on three examples of each kind before it is used.

    Args:
        layer_types: The types it covers, and those derived from them that keep their ``forward``.
        refuses: Given a layer, returns why its options are beyond the rule, or ``None``.
        takes_half: Whether the rule deals with half precision itself; else it is given single.
        parameters: Names of the layer's own parameters that the rule knows. A layer that has
            others, or lacks the first of them, is left to the fallback.
        exposes: Given a layer and a function that records, returns a forward that stands in for
            the layer's own; the rule is applied to each result that it records.

    Returns:
        The decorator, which leaves the function as it is.

    Raises:
        ConfigurationError: If a type is no layer or has a rule already, or no parameter is named.
    """
    names = (parameters,) if isinstance(parameters, str) else tuple(parameters)
    if not layer_types or not names:
        raise ConfigurationError(
            f"Found {len(layer_types)} layer types and {len(names)} parameters for a gradient "
            "rule, expected one or more of each: @gradient_rule(MyLayer, parameters=('scale',))."
        )

    def register(function: F) -> F:
        for layer_type in layer_types:
            _check_type(layer_type, function)
            _RULES[layer_type] = Rule(layer_type, function, refuses, takes_half, names, exposes)
        return function

    return register


def _check_type(layer_type: type[nn.Module], function: Callable[..., Any]) -> None:
    if not isinstance(layer_type, type) or not issubclass(layer_type, nn.Module):
        raise ConfigurationError(
            f"Found {layer_type!r} for a gradient rule, expected a class of layers, derived from "
            "torch.nn.Module. Pass the class and not a layer or its name."
        )
    known = _RULES.get(layer_type)
    # A cell of a notebook that is run again brings the same function anew.
    names = (function.__module__, function.__qualname__)
    if known and names != (known.function.__module__, known.function.__qualname__):
        raise ConfigurationError(
            f"Layers of the type {layer_type.__name__} have the gradient rule {known.name} "
            f"already, and {'.'.join(names)} would replace it. Derive a class of layers of your "
            "own and register the rule for that."
        )


def find_rule(layer: nn.Module) -> Rule | str:
    """Return the rule that covers a layer, or the reason why none does.

    A subclass is covered only if it kept the ``forward`` that the rule was written for, and a
    layer only if its parameters are the ones that ``forward`` reads: weight normalisation, for
    one, replaces ``weight`` by two others.
    """
    rule = next((_RULES[kind] for kind in type(layer).__mro__ if kind in _RULES), None)
    if rule is None:
        return f"no rule for {type(layer).__name__}"
    # What stands in for a layer that shows its products would leave out one set on the layer.
    is_replaced = rule.exposes is not None and "forward" in vars(layer)
    if is_replaced or _forward_of(type(layer)) is not _forward_of(rule.layer_type):
        return f"{type(layer).__name__} has a forward of its own"
    names = {name for name, value in layer._parameters.items() if value is not None}
    if not names <= set(rule.parameters) or rule.parameters[0] not in names:
        known = " and ".join(rule.parameters)
        return f"its parameters are {', '.join(sorted(names))}, not {known}"
    return rule.refuses(layer) or rule


def _forward_of(layer_type: type[nn.Module]) -> Callable[..., Any]:
    forward: Callable[..., Any] = layer_type.forward
    return forward
