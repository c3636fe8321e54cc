"""The plan of a model's gradients: for each parameter its layer's rule or the fallback, checked.

A rule is trusted only after a trial on three examples. The gradient graph must show no use of
the parameter beside the calls the hooks saw (a weight read functionally, as
``nn.MultiheadAttention`` does with its output layer). Where the examples lie must be provable, as
in every batch later (``owners``). And the objective of each example alone is differentiated: what
the rule gives for that example must agree with autograd.

``Coverage`` reports the plan to a person: which parameters are covered, by which rule or by the
fallback, and which are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tracin_core.errors import GradientError
from tracin_core.gradients.factored import Contribution, combine, instantiate_chunks
from tracin_core.gradients.functorch import FallbackMethod, fallback_gradients
from tracin_core.gradients.graph.free_parameters import (
    FreeParameters,
    KnownReads,
    Layouts,
    Opened,
    Proofs,
    describe_reads,
    differentiate_reads,
    learn_layouts,
    list_possible,
    locate_read,
    open_candidates,
)
from tracin_core.gradients.graph.ownership import MarkedGradients, differentiate_marked
from tracin_core.gradients.graph.survey import GraphSurvey, survey_graph
from tracin_core.gradients.hooks import (
    CoveredLayer,
    LayerUse,
    Objective,
    apply_rules,
    expose_layers,
    find_other_reads,
    list_edges,
    locate_by_graph,
    locate_examples,
    record_uses,
)
from tracin_core.gradients.inspection import TRIAL_SIZE, ReferenceGradients
from tracin_core.gradients.nested import call_model
from tracin_core.gradients.rules.registry import UnsupportedUseError, find_rule

CoverageMethod = Literal["rule", "torch.func", "one example at a time", "frozen", "not chosen"]
# By parameter: the operations that read it, and the trial's gradients by their rules.
TriedReads = dict[str, tuple[KnownReads, list[Contribution]]]
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

    def __repr__(self) -> str:
        total = sum(entry.size for entry in self.parameters)
        covered = sum(entry.size for entry in self.parameters if entry.method in COVERED)
        left = ", ".join(self.left_out[:3]) + (", ..." if len(self.left_out) > 3 else "")
        return (
            f"Coverage({covered:,} of {total:,} numbers in {len(self.covered)} of {len(self)} "
            f"parameters, left out: {left or 'none'}, "
            f"{'checked on examples' if self.confirmed else 'by the types of layers'})"
        )

    def __str__(self) -> str:
        width = max((len(entry.name) for entry in self.parameters), default=0)
        lines = [
            f"{entry.name:{width}}  {entry.size:>12,}  {entry.method}: {entry.reason}"
            for entry in self.parameters
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Plan:
    """How the gradients of the chosen parameters are computed.

    Attributes:
        layers: Layers covered by a rule.
        fallback: Parameters left to the fallback, and why.
        method: How the fallback works, if there is any.
        known: Parameters covered by the rules of the operations that read them, and those.
        head: The only layer wanted, where its outputs are the logits of a softmax cross-entropy;
            a forward pass is then enough.
        held_bytes: What a forward pass keeps for each example; 0 where it was not measured.
        proofs: What batches have proved of where their examples lie.
    """

    layers: tuple[CoveredLayer, ...]
    fallback: Mapping[str, str] = field(default_factory=dict)
    method: FallbackMethod = "torch.func"
    known: FreeParameters = field(default_factory=dict)
    head: CoveredLayer | None = None
    held_bytes: int = 0
    proofs: Proofs = field(default_factory=Proofs, compare=False)

    @property
    def written_numbers(self) -> int:
        """Numbers in the whole gradients that have to be written out for each example."""
        return sum(known.written_numbers for known in self.known.values())

    def rule_of(self, name: str) -> str | None:
        """Return the layer type, or the operations, whose rules cover a parameter, or ``None``."""
        known = self.known.get(name)
        if known is not None and known.reads:
            kinds = dict.fromkeys(read.kind.removesuffix("Backward0") for read in known.reads)
            instead = self.known[name].instead
            return "read by " + ", ".join(kinds) + (f"; {instead}" if instead else "")
        for covered in self.layers:
            if name in covered.parameters.values():
                return type(covered.layer).__name__
        return None


def draft_plan(model: nn.Module, chosen: Sequence[str]) -> Plan:
    """Plan by the types of the layers alone.

    Args:
        model: The model.
        chosen: Names of the parameters wanted, as in ``model.named_parameters()``.

    Returns:
        A plan that no trial has confirmed.
    """
    names = {id(value): name for name, value in model.named_parameters()}
    wanted = set(chosen)
    layers: list[CoveredLayer] = []
    reasons: dict[str, str] = {}
    for module_name, module in model.named_modules():
        local = {
            key: names[id(value)]
            for key, value in module._parameters.items()
            if value is not None and names[id(value)] in wanted
        }
        if not local:
            continue
        rule = find_rule(module)
        if isinstance(rule, str):
            reasons.update(dict.fromkeys(local.values(), rule))
        else:
            layers.append(CoveredLayer(module_name, module, rule, local))
    return drop_parameters(Plan(tuple(layers)), reasons)


def drop_parameters(plan: Plan, reasons: Mapping[str, str]) -> Plan:
    """Move parameters from their rules to the fallback.

    A parameter tied across modules goes as a whole: a rule for one of its uses is no gradient.
    """
    layers = []
    for covered in plan.layers:
        kept = {key: name for key, name in covered.parameters.items() if name not in reasons}
        if kept:
            layers.append(CoveredLayer(covered.name, covered.layer, covered.rule, kept))
    return Plan(tuple(layers), {**plan.fallback, **reasons}, plan.method)


def confirm_plan(
    model: nn.Module, plan: Plan, inputs: Any, targets: Any, objective: Objective
) -> Plan:
    """Try a plan on three examples and move what fails to the fallback.

    Args:
        model: In evaluation mode, weights in place; the chosen parameters require gradients.
        plan: The draft.
        inputs: Three examples.
        targets: Their targets.
        objective: What will be differentiated.

    Returns:
        The plan to use.

    Raises:
        GradientError: If even the fallback disagrees with autograd.
    """
    weights = dict(model.named_parameters())
    trainable = {name: value for name, value in weights.items() if value.requires_grad}
    layers = plan.layers
    with expose_layers(layers) as sinks:
        with torch.enable_grad(), record_uses(layers, sinks) as uses:
            tried = objective(call_model(model, inputs), targets)
        survey = survey_graph(tried, TRIAL_SIZE)
        reasons = find_other_reads(plan.layers, uses, survey)
        ruled = _try_rules(tried, uses, survey, reasons)
        early = plan.fallback.keys() | reasons.keys()
        reads = _try_reads(tried, survey, _pick(trainable, early))
    values = tried
    if any(covered.rule.exposes is not None for covered in layers):
        # What stood in for a layer is tried as well: the truth is the layer as it was written.
        with torch.enable_grad():
            values = objective(call_model(model, inputs), targets)
    references = None
    own = unproved = _list_own(plan)
    for row in range(TRIAL_SIZE):
        references = _differentiate_row(values, row, trainable)
        unproved = {name for name in unproved if references.is_zero(name)}
        for name in trainable.keys() - plan.fallback.keys() - reasons.keys():
            if not _agrees(ruled.get(name), row, name, references):
                reasons[name] = _explain_disagreement(plan, name)
        with expose_layers(layers):  # as the graph was made
            reads = _keep_right(reads, row, references)
    # Rules of this library have tests; of a person's own, zeros prove nothing.
    for name in unproved - reasons.keys():
        reasons[name] = "its gradient was zero where the rule was tried, which proves nothing of it"
    plan = drop_parameters(plan, reasons)
    late = _pick(trainable, reasons.keys() - early)
    largest = references.largest if references is not None else 0.0
    with expose_layers(layers):
        reads |= _try_late_reads(tried, survey, late, largest)
    by_operation = {
        name: replace(known, instead=reasons.get(name, "") if name in own else "")
        for name, (known, _) in reads.items()
    }
    fallback = {name: reason for name, reason in plan.fallback.items() if name not in by_operation}
    plan = replace(plan, fallback=fallback, known=by_operation)
    return _choose_fallback(model, plan, references, inputs, targets, objective)


def _try_rules(
    values: Tensor, uses: Sequence[LayerUse], survey: GraphSurvey, reasons: dict[str, str]
) -> dict[str, list[Contribution]]:
    """Return the trial's gradients by the layers' rules; what cannot be told joins the reasons."""
    edges = list_edges(uses, [])
    placement = locate_by_graph(uses, [], survey)
    if placement is None:
        marks = _differentiate(values, edges)
        placement = locate_examples(uses, [], marks, reasons)
        deltas = [None if mark is None else mark.plain for mark in marks]
    else:
        deltas = _differentiate_sum(values, edges)
    with torch.no_grad():
        return _combine(apply_rules(uses, [], deltas, placement, TRIAL_SIZE, {}, reasons))


def _list_own(plan: Plan) -> set[str]:
    """Return the parameters that are covered by a rule of whoever uses this library."""
    own = (covered for covered in plan.layers if not covered.rule.is_built_in)
    return {name for covered in own for name in covered.parameters.values()}


def _explain_disagreement(plan: Plan, name: str) -> str:
    """Return why a rule is not used that autograd contradicts; warn if it is a person's own."""
    rule = next(covered.rule for covered in plan.layers if name in covered.parameters.values())
    if rule.is_built_in:
        return "its layer's rule and autograd disagree; the call is unusual"
    warnings.warn(
        f"The gradient rule {rule.name} for {rule.layer_type.__name__} gives other gradients of "
        f"{name!r} than autograd, so it is not used for it; the fallback is, which is exact and "
        "slower. Mend the rule (check_gradient_rule(layer, inputs) says what differs), or let it "
        "raise UnsupportedUseError for calls that it cannot follow.",
        RuntimeWarning,
        stacklevel=3,
    )
    return f"the rule {rule.name} and autograd disagree"


def _differentiate(values: Tensor, edges: list[Any]) -> list[MarkedGradients | None]:
    """Differentiate by the layers' outputs; the graph is kept."""
    if not values.requires_grad or not edges:
        return [None] * len(edges)
    try:
        return differentiate_marked(values, edges, keep_graph=True)
    except RuntimeError as error:
        raise _explain(error) from error


def _differentiate_sum(values: Tensor, edges: list[Any]) -> list[Tensor | None]:
    """Differentiate the sum of the objectives; the graph is kept."""
    if not values.requires_grad or not edges:
        return [None] * len(edges)
    try:
        found = torch.autograd.grad(
            values, edges, torch.ones_like(values), allow_unused=True, retain_graph=True
        )
    except RuntimeError as error:
        raise _explain(error) from error
    return list(found)


def _differentiate_row(
    values: Tensor, row: int, wanted: Mapping[str, Tensor], largest: float = 0.0
) -> ReferenceGradients:
    """Differentiate the objective of one example by the parameters."""
    if not values.requires_grad:
        return ReferenceGradients({name: torch.zeros_like(item) for name, item in wanted.items()})
    mark = torch.zeros_like(values)
    mark[row] = 1
    try:
        found = torch.autograd.grad(
            values, list(wanted.values()), mark, allow_unused=True, retain_graph=True
        )
    except RuntimeError as error:
        raise _explain(error) from error
    truths = {
        name: torch.zeros_like(item) if gradient is None else gradient.detach().to_dense()
        for (name, item), gradient in zip(wanted.items(), found, strict=True)
    }
    return ReferenceGradients(truths, largest)


def _explain(error: RuntimeError) -> GradientError:
    return GradientError(
        f"The model cannot be differentiated ({str(error).splitlines()[0]}); expected a "
        "model that could be trained as it is. Look for a change in place, or a custom "
        "operation without a gradient."
    )


def _combine(gradients: Mapping[str, list[Contribution]]) -> dict[str, list[Contribution]]:
    return {name: combine(items) for name, items in gradients.items() if items}


@torch.no_grad()
def _agrees(
    found: Sequence[Contribution] | None, row: int, name: str, truths: ReferenceGradients
) -> bool:
    """Return whether a rule gives autograd's gradient for a trial example."""
    if not found:
        return truths.is_zero(name)
    parts = [item.narrow(row, row + 1) for item in found]
    return truths.agrees_with(name, torch.cat(list(instantiate_chunks(parts)))[0])


def _try_reads(values: Tensor, survey: GraphSurvey, parameters: Mapping[str, Tensor]) -> TriedReads:
    """Return the operations whose rules may cover parameters, and the gradients by these."""
    if not parameters or not values.requires_grad:
        return {}
    possible = list_possible(survey, parameters)
    marks = dict(zip(possible, _differentiate(values, list(possible.values())), strict=True))
    opened, ways = open_candidates(survey, parameters, marks)
    layouts: dict[str, Layouts] = {}
    kept: Opened = []
    missing: dict[str, str] = {}
    for name, reads in opened:
        proved = [locate_read(item, survey) for item in reads]
        told = [marks.get(item.read.node) for item in reads]
        # As for layers: what a rule cannot follow goes to the fallback.
        try:
            learned = learn_layouts(reads, told)
        except UnsupportedUseError:
            continue
        layouts[name] = [one or other for one, other in zip(proved, learned, strict=True)]
        kept.append((name, reads))
    deltas = _differentiate_sum(values, list_edges([], kept))
    with torch.no_grad():
        found = differentiate_reads(kept, deltas, layouts, parameters, TRIAL_SIZE, missing)
    return {
        name: (
            KnownReads(describe_reads(reads, parameters[name], found[name]), ways[name]),
            combine(found[name]),
        )
        for name, reads in kept
        if name in found
    }


def _try_late_reads(
    values: Tensor, survey: GraphSurvey, parameters: Mapping[str, Tensor], largest: float
) -> TriedReads:
    """Return the operations by whose rules gradients are right that a layer's rule gave wrong."""
    reads = _try_reads(values, survey, parameters)
    for row in range(TRIAL_SIZE if reads else 0):
        reads = _keep_right(reads, row, _differentiate_row(values, row, parameters, largest))
    return reads


def _keep_right(reads: TriedReads, row: int, references: ReferenceGradients) -> TriedReads:
    """Return those whose gradients are autograd's for a trial example."""
    return {
        name: item for name, item in reads.items() if _can_agree(item[1], row, name, references)
    }


def _can_agree(
    found: Sequence[Contribution], row: int, name: str, truths: ReferenceGradients
) -> bool:
    """Return whether reads give autograd's gradient for a trial example; not if they give none."""
    try:
        return _agrees(found, row, name, truths)
    except GradientError:
        return False


def _pick(parameters: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    return {name: value for name, value in parameters.items() if name in names}


def _choose_fallback(
    model: nn.Module,
    plan: Plan,
    truths: ReferenceGradients | None,
    inputs: Any,
    targets: Any,
    objective: Objective,
) -> Plan:
    """Choose ``torch.func`` where it gives the right numbers, else one example at a time."""
    if not plan.fallback or truths is None:
        return plan
    everything = dict(model.named_parameters())
    weights: dict[str, Tensor] = {name: everything[name] for name in plan.fallback}
    problem = "its numbers differ from autograd's"
    methods: tuple[FallbackMethod, ...] = ("torch.func", "one example at a time")
    for method in methods:
        # What a model raises when it is mapped can be anything; whatever it is, the second
        # method stands ready, and its own failure is reported below.
        try:
            found = fallback_gradients(model, weights, inputs, targets, objective, method)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        # The last one: the truths are as large as the model, so they are not kept for all.
        if all(truths.agrees_with(name, found[name][TRIAL_SIZE - 1]) for name in weights):
            return replace(plan, method=method)
    raise GradientError(
        f"The gradients of {', '.join(weights)} cannot be computed for one example at a time "
        f"({problem}). Expected a model that accepts a batch of one example and gives it the "
        "same output as in a larger batch. Choose other `layers`, or mend the model's forward."
    )
