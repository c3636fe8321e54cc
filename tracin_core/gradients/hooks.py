"""One forward and one backward pass that give every example's gradients.

Hooks keep each covered layer's input. The backward pass of the summed objective goes to the
layers' outputs only, so the summed weight gradients that training needs are never formed. Where
the examples lie in them is proved for every batch: by its graph, or by a further backward pass.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from tracin_core.errors import GradientError
from tracin_core.gradients.factored import Contribution, combine
from tracin_core.gradients.graph.free_parameters import (
    MOST_PASSED,
    FreeParameters,
    Opened,
    Placement,
    Proofs,
    differentiate_reads,
    has_passed,
    learn_layouts,
    open_reads,
    take_each,
)
from tracin_core.gradients.graph.ownership import (
    Layout,
    MarkedGradients,
    differentiate_marked,
    find_layout,
    find_scales,
    name_layout,
    regroup,
    undo_scales,
)
from tracin_core.gradients.graph.survey import GraphSurvey, survey_graph
from tracin_core.gradients.inspection import find_output_tensors, refuse_company
from tracin_core.gradients.nested import call_model, take_first_row
from tracin_core.gradients.precision import widen
from tracin_core.gradients.rules.registry import Rule, UnsupportedUseError

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
        missing: Parameters whose examples could not be told apart, and why; the fallback must
            step in.
    """

    outputs: Any
    evaluate: Callable[[], Tensor]
    gradients: Gradients
    missing: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def values(self) -> Tensor:
        """The objective for each example, shape ``(B,)``, evaluated when first asked for."""
        with torch.no_grad():
            return self.evaluate()

    def take_first(self) -> CapturedPass:
        """Return what the pass gave for the first of its two examples."""
        gradients = {
            name: [item.narrow(0, 1) for item in items] for name, items in self.gradients.items()
        }
        outputs = take_first_row(self.outputs, 2)
        return CapturedPass(outputs, lambda: self.evaluate()[:1], gradients, self.missing)


def capture_pass(
    model: nn.Module,
    layers: Sequence[CoveredLayer],
    inputs: Any,
    targets: Any,
    objective: Objective,
    known: FreeParameters = MappingProxyType({}),
    proofs: Proofs | None = None,
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
        proofs: What was looked at in earlier batches.

    Returns:
        Outputs, objective and gradients.

    Raises:
        GradientError: If a layer's input was overwritten, or an output depends on the company.
    """
    proofs = proofs if proofs is not None else Proofs()
    with torch.enable_grad(), expose_layers(layers) as sinks:
        # Only the forward pass is watched: blocks that are computed again in the backward pass
        # call their layers again.
        with record_uses(layers, sinks) as uses:
            outputs = call_model(model, inputs)
            values = objective(outputs, targets)
        size = len(values)
        parameters = dict(model.named_parameters()) if known else {}
        survey = survey_graph(values, size)
        opened = open_reads(survey, parameters, known) if known else []
        missing = find_other_reads(layers, uses, survey)
        edges = list_edges(uses, opened)
        signature = _sign(survey, uses, opened)
        placement = None
        deltas: Sequence[Tensor | None] = [None] * len(edges)
        if edges and values.requires_grad:
            if proofs.is_due(size, signature):
                refuse_company(model, inputs, outputs)
            placement = locate_by_graph(uses, opened, survey)
            is_proved = placement is not None
            # What leads back further than to the reads needs the graph afterwards.
            keep = has_passed(opened)
            if placement is None:
                scales = find_scales(values, _list_rows(outputs, size))
                marks = differentiate_marked(values, edges, scales=scales, keep_graph=keep)
                deltas = [None if mark is None else mark.plain for mark in marks]
                placement = locate_examples(uses, opened, marks, missing)
                if scales is not None:
                    deltas = _undo_scales(deltas, placement, opened, scales)
            if is_proved:
                deltas = torch.autograd.grad(
                    values.sum(), edges, allow_unused=True, retain_graph=keep
                )
    with torch.no_grad():
        gradients = apply_rules(uses, opened, deltas, placement, size, parameters, missing)
    for name in known.keys() - {name for name, _ in opened}:
        missing[name] = "it is read by operations without a rule"
    combined = {name: combine(items) for name, items in gradients.items() if items}
    return CapturedPass(outputs, values.detach, combined, missing)


# Lists of calls; what is recorded goes to the last of them, if there is one.
Sinks = list[list[LayerUse]]


@contextmanager
def expose_layers(layers: Sequence[CoveredLayer]) -> Iterator[Sinks]:
    """Let layers run so that results within them can be recorded (``Rule.exposes``).

    Open until after the backward pass: a block that is computed again there has to run as before.
    """
    sinks: Sinks = []
    exposed = [covered for covered in layers if covered.rule.exposes is not None]
    try:
        for covered in exposed:
            vars(covered.layer)["forward"] = _expose(covered, sinks)
        yield sinks
    finally:
        for covered in exposed:
            vars(covered.layer).pop("forward", None)


def _expose(covered: CoveredLayer, sinks: Sinks) -> Callable[..., Any]:
    """Return what stands in for a layer's forward and records results within it."""

    def record(arguments: tuple[Any, ...], result: Tensor, names: Sequence[str]) -> None:
        wanted = {name: covered.parameters[name] for name in names if name in covered.parameters}
        if sinks and wanted and result.requires_grad:
            part = replace(covered, parameters=wanted)
            edge = get_gradient_edge(result)
            sinks[-1].append(LayerUse(part, arguments, _count_changes(arguments), edge))

    assert covered.rule.exposes is not None  # noqa: S101 - asked by whoever calls this
    return covered.rule.exposes(covered.layer, record)


@contextmanager
def record_uses(layers: Sequence[CoveredLayer], sinks: Sinks) -> Iterator[list[LayerUse]]:
    """Collect every call of the layers while the context is open."""
    uses: list[LayerUse] = []
    handles = [
        covered.layer.register_forward_hook(_make_hook(covered, uses), with_kwargs=True)
        for covered in layers
        if covered.rule.exposes is None
    ]
    sinks.append(uses)
    try:
        yield uses
    finally:
        sinks.pop()
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
            uses.append(LayerUse(covered, args, _count_changes(args), edge))

    return keep


def _sign(survey: GraphSurvey, uses: Sequence[LayerUse], opened: Opened) -> Hashable | None:
    """Return what batches share that need not be looked at one by one."""
    # What all examples share is the same in every batch, whatever is done with it.
    ends = {item.read.node for _, reads in opened for item in reads} if survey.unclear else ()
    if any(not survey.leads_only_to(node, ends, MOST_PASSED) for node in survey.unclear):
        return None
    called = tuple(use.covered.name for use in uses)
    return survey.signature, called, tuple((name, len(reads)) for name, reads in opened)


def _list_rows(outputs: Any, size: int) -> list[Tensor]:
    """Return the outputs with gradients that have a row for each example."""
    tensors = find_output_tensors(outputs)
    return [t for t in tensors if t.requires_grad and t.dim() and len(t) == size]


def list_edges(uses: Sequence[LayerUse], opened: Opened) -> list[GradientEdge]:
    """Return where the backward pass goes: the outputs of calls, then the results of reads."""
    edges = [use.edge for use in uses]
    return edges + [item.read.edge for _, reads in opened for item in reads]


def find_other_reads(
    layers: Sequence[CoveredLayer], uses: Sequence[LayerUse], survey: GraphSurvey
) -> dict[str, str]:
    """Return the covered parameters that are also read beside their layers' calls."""
    seen = Counter(name for use in uses for name in use.covered.parameters.values())
    found: dict[str, str] = {}
    for covered in layers:
        for local, name in covered.parameters.items():
            value = covered.layer._parameters[local]
            if value is not None and survey.count_reads(value) > seen[name]:
                found[name] = "read outside of its layer's call"
    return found


def locate_by_graph(
    uses: Sequence[LayerUse], opened: Opened, survey: GraphSurvey
) -> Placement | None:
    """Return where the examples are if the graph alone proves it everywhere (``blocks``)."""
    if survey.root is None or survey.batch_size is None:
        return None
    root = survey.root[0]
    layouts: list[Layout | None] = []
    for edge, axes in [
        *((use.edge, [0]) for use in uses),
        *((item.read.edge, item.list_axes()) for _, reads in opened for item in reads),
    ]:
        if edge.node is not root and edge.node not in survey.readers:
            layouts.append(None)  # nothing reaches it
            continue
        place = survey.places.get((edge.node, edge.output_nr))
        shape = edge.node._input_metadata[edge.output_nr].shape
        layout = None if place is None else name_layout(shape, place, axes, survey.batch_size)
        if layout is None:
            return None
        layouts.append(layout)
    rest = iter(layouts[len(uses) :])
    return Placement(layouts[: len(uses)], {name: [next(rest) for _ in n] for name, n in opened})


def locate_examples(
    uses: Sequence[LayerUse],
    opened: Opened,
    marks: Sequence[MarkedGradients | None],
    missing: dict[str, str],
) -> Placement:
    """Find where the examples of a batch are, and note the parameters for which nobody can tell.

    Args:
        uses: Calls of layers.
        opened: Operations that read parameters.
        marks: Gradients at the edges of both (``list_edges``).
        missing: Where the parameters are noted.
    """
    layouts: list[Layout | None] = []
    for use, mark in zip(uses, marks[: len(uses)], strict=True):
        try:
            layouts.append(None if mark is None else find_layout(mark, [0]))
        except UnsupportedUseError as error:
            layouts.append(None)
            missing |= dict.fromkeys(use.covered.parameters.values(), str(error))
    reads = {}
    for name, items, found in take_each(opened, marks[len(uses) :]):
        try:
            reads[name] = learn_layouts(items, found)
        except UnsupportedUseError as error:
            missing[name] = str(error)
    return Placement(layouts, reads)


def _undo_scales(
    deltas: Sequence[Tensor | None], placement: Placement, opened: Opened, scales: Tensor
) -> list[Tensor | None]:
    """Return gradients of the objectives from those of the scaled ones, which save a pass."""
    layouts = list(placement.uses)
    for name, reads in opened:
        layouts += placement.reads.get(name, [None] * len(reads))
    size = len(scales)
    return [undo_scales(d, layout, scales, size) for d, layout in zip(deltas, layouts, strict=True)]


def apply_rules(
    uses: Sequence[LayerUse],
    opened: Opened,
    deltas: Sequence[Tensor | None],
    placement: Placement | None,
    batch_size: int,
    parameters: Mapping[str, Tensor],
    missing: dict[str, str],
) -> Gradients:
    """Apply the rules of layers and operations to what the backward pass brought.

    Args:
        uses: Calls of layers.
        opened: Operations that read parameters.
        deltas: Gradients at the edges of both.
        placement: Where the examples are; ``None`` where nothing is differentiated.
        batch_size: Number of examples B.
        parameters: Those of the reads, by name.
        missing: Parameters to leave out; those that a rule cannot follow are added.

    Returns:
        For each parameter what its uses contribute.
    """
    gradients: Gradients = {}
    if placement is None:
        return gradients
    others: dict[str, list[tuple[Contribution, Tensor]]] = {}
    for use, delta, layout in zip(uses, deltas[: len(uses)], placement.uses, strict=True):
        if delta is None or layout is None or not len(delta):
            continue
        try:
            contributions = apply_rule(use, delta)
            owners = None
            if not layout.is_plain(len(delta), batch_size):
                owners = layout.find_owners(len(delta), batch_size, delta.device)
        except UnsupportedUseError as error:
            missing |= dict.fromkeys(use.covered.parameters.values(), str(error))
            continue
        for local_name, name in use.covered.parameters.items():
            if owners is None:
                gradients.setdefault(name, []).append(contributions[local_name])
            else:
                others.setdefault(name, []).append((contributions[local_name], owners))
    for name, found in others.items():
        try:
            gradients.setdefault(name, []).extend(regroup(found, batch_size))
        except UnsupportedUseError as error:
            missing[name] = str(error)
    results = deltas[len(uses) :]
    gradients |= differentiate_reads(
        opened, results, placement.reads, parameters, batch_size, missing
    )
    return {name: items for name, items in gradients.items() if name not in missing}


def apply_rule(use: LayerUse, delta: Tensor) -> dict[str, Contribution]:
    """Return what a call of a layer contributes to its parameters, one gradient for each row.

    Raises:
        GradientError: If the layer's input was overwritten, or a person's own rule is broken.
        UnsupportedUseError: If the rule cannot follow the call.
    """
    covered = use.covered
    if _count_changes(use.arguments) != use.version:
        raise GradientError(
            f"The input of layer {covered.name!r} was changed in place after the layer read it; "
            "its gradient cannot be computed any more. Use the activation that is not in place."
        )
    given: tuple[Any, Any] = (use.arguments, delta)
    if not covered.rule.takes_half:
        given = widen(given)
    rule, wanted = covered.rule, tuple(covered.parameters)
    try:
        return rule.differentiate(covered.layer, *given, wanted)
    except (UnsupportedUseError, GradientError):
        raise
    except Exception as error:
        # Shapes that the rule was not written for; a lack of memory is another matter.
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "memory" in str(error):
            raise
        if rule.is_built_in and not isinstance(error, RuntimeError):
            raise
        message = (str(error) or type(error).__name__).splitlines()[0]
        if rule.is_built_in:
            raise UnsupportedUseError(message) from error
        raise GradientError(
            f"The gradient rule {rule.name} failed on layer {covered.name!r} ({message}); expected "
            "gradients for each of its parameters. Mend the rule, or let it raise "
            "UnsupportedUseError for calls that it cannot follow."
        ) from error


def _count_changes(arguments: tuple[Any, ...]) -> int:
    """Return how often the first argument of a call was changed in place, if it can be."""
    first = arguments[0] if arguments else None
    return first._version if isinstance(first, Tensor) else 0
