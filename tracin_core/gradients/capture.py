"""One forward and one backward pass that give every example's gradients.

Hooks keep each covered layer's input. The backward pass of the summed objective goes to the
layers' outputs only, so the summed weight gradients that training needs are never formed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from tracin_core.errors import GradientError
from tracin_core.gradients.bare import Known, differentiate_reads, open_reads, take_deltas
from tracin_core.gradients.contributions import Contribution
from tracin_core.gradients.precision import widen
from tracin_core.gradients.registry import Rule, UnsupportedUseError
from tracin_core.gradients.structure import call_model
from tracin_core.gradients.uses import combine

# Outputs of the model and targets -> one number for each example, shape (B,).
Objective = Callable[[Any, Any], Tensor]
Gradients = dict[str, list[Contribution]]


@dataclass(frozen=True)
class CoveredLayer:
    """A layer whose parameters' gradients come from a rule.

    Attributes:
        name: As in ``model.named_modules()``.
        layer: The layer.
        rule: The rule.
        parameters: Local names of the parameters wanted, and their names in the model.
    """

    name: str
    layer: nn.Module
    rule: Rule
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class LayerUse:
    """One call of a covered layer.

    Attributes:
        covered: The layer.
        arguments: Positional arguments of the call.
        version: In-place changes the first argument had seen at the call.
        edge: The layer's output in the gradient graph. A later in-place activation overwrites
            the output tensor but not this edge.
    """

    covered: CoveredLayer
    arguments: tuple[Any, ...]
    version: int
    edge: GradientEdge


@dataclass(frozen=True)
class CapturedPass:
    """What one pass over a batch gave.

    Attributes:
        outputs: Outputs of the model, detached from the graph only where the caller does so.
        evaluate: Returns the objective for each example.
        gradients: Each parameter's contributions, by name; absent where nothing reaches it.
        missing: Parameters read in another way than in the trial; the fallback must step in.
    """

    outputs: Any
    evaluate: Callable[[], Tensor]
    gradients: Gradients
    missing: tuple[str, ...] = ()

    @cached_property
    def values(self) -> Tensor:
        """The objective for each example, shape ``(B,)``, evaluated when first asked for."""
        with torch.no_grad():
            return self.evaluate()


@contextmanager
def record_uses(layers: Sequence[CoveredLayer]) -> Iterator[list[LayerUse]]:
    """Collect every call of the layers while the context is open."""
    uses: list[LayerUse] = []
    handles = [
        covered.layer.register_forward_hook(_make_hook(covered, uses), with_kwargs=True)
        for covered in layers
    ]
    try:
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def _make_hook(covered: CoveredLayer, uses: list[LayerUse]) -> Callable[..., None]:
    def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # Without a graph behind it (inside torch.no_grad()) no gradient flows to this use.
        if isinstance(output, Tensor) and output.requires_grad:
            if kwargs:
                bound = inspect.signature(layer.forward).bind(*args, **kwargs)
                bound.apply_defaults()
                args = bound.args
            edge = get_gradient_edge(output)
            uses.append(LayerUse(covered, args, args[0]._version, edge))

    return keep


def capture_pass(
    model: nn.Module,
    layers: Sequence[CoveredLayer],
    inputs: Any,
    targets: Any,
    objective: Objective,
    known: Known = MappingProxyType({}),
) -> CapturedPass:
    """Run one forward and one backward pass and apply the rules.

    The objective is summed, never averaged: a mean would divide each gradient by the batch size.

    Args:
        model: In evaluation mode, with the weights of interest in place.
        layers: The covered layers.
        inputs: A batch of inputs.
        targets: Their targets.
        objective: What is differentiated.
        known: Parameters that no layer's rule covers, and the operations that read them.

    Returns:
        Outputs, objective and gradients.

    Raises:
        GradientError: If a layer's input was overwritten, or its batch axis is not first.
    """
    with torch.enable_grad(), record_uses(layers) as uses:
        outputs = call_model(model, inputs)
        values = objective(outputs, targets)
        parameters = dict(model.named_parameters()) if known else {}
        opened = open_reads(values, parameters, known) if known else []
        edges = [use.edge for use in uses]
        edges += [item.read.edge for _, reads in opened for item in reads]
        deltas: Sequence[Tensor | None] = ()
        if edges and values.requires_grad:
            deltas = torch.autograd.grad(values.sum(), edges, allow_unused=True)
    gradients: Gradients = {}
    with torch.no_grad():
        for use, delta in zip(uses, deltas[: len(uses)], strict=bool(deltas)):
            if delta is not None:
                _apply_rule(use, delta, len(values), gradients)
        for name, reads, found in take_deltas(opened, deltas[len(uses) :]):
            # Not along the axis of the trial: left out, and so missing.
            with suppress(UnsupportedUseError):
                gradients[name] = differentiate_reads(
                    reads, found, known[name], parameters[name], len(values)
                )
    missing = tuple(name for name in known if name not in gradients)
    combined = {name: combine(items) for name, items in gradients.items() if items}
    return CapturedPass(outputs, values.detach, combined, missing)


def _apply_rule(use: LayerUse, delta: Tensor, batch_size: int, gradients: Gradients) -> None:
    covered = use.covered
    if use.arguments[0]._version != use.version:
        raise GradientError(
            f"The input of layer {covered.name!r} was changed in place after the layer read it; "
            "its gradient cannot be computed any more. Use the activation that is not in place."
        )
    if len(delta) != batch_size:
        raise GradientError(
            f"Layer {covered.name!r} returned {len(delta)} rows for a batch of {batch_size} "
            "examples; expected the examples along the first axis. Leave this layer out of "
            "`layers`, or keep the examples along the first axis of every input."
        )
    given: tuple[Any, Any] = (use.arguments, delta)
    if not covered.rule.takes_half:
        given = widen(given)
    contributions = covered.rule.function(covered.layer, *given)
    for local_name, name in covered.parameters.items():
        gradients.setdefault(name, []).append(contributions[local_name])
