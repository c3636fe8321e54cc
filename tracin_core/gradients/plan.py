"""Decide, for each chosen parameter, between its layer's rule and the fallback; and check it.

A rule is trusted only after a trial on three examples. The gradient graph must show no use of
the parameter beside the calls the hooks saw (a weight read functionally, as
``nn.MultiheadAttention`` does with its output layer). And the objective of the middle example
alone is differentiated: the rule must agree with autograd for that example and give nothing
for the other two, which fails where examples are not along the first axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.errors import GradientError
from tracin_core.gradients.agreement import TRIAL_EXAMPLE, TRIAL_SIZE, TrialGradients
from tracin_core.gradients.bare import (
    Known,
    KnownRead,
    Opened,
    differentiate_reads,
    learn_layouts,
    open_candidates,
    take_deltas,
)
from tracin_core.gradients.capture import (
    CoveredLayer,
    Gradients,
    LayerUse,
    Objective,
    record_uses,
)
from tracin_core.gradients.fallback import FallbackMethod, fallback_gradients
from tracin_core.gradients.graph import find_parameter_uses
from tracin_core.gradients.registry import UnsupportedUseError, find_rule
from tracin_core.gradients.structure import call_model
from tracin_core.gradients.uses import combine, instantiate_chunks


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
        held_bytes: What a forward pass keeps for each example; 0 where it was not measured.
    """

    layers: tuple[CoveredLayer, ...]
    fallback: Mapping[str, str] = field(default_factory=dict)
    method: FallbackMethod = "torch.func"
    known: Known = field(default_factory=dict)
    head: CoveredLayer | None = None
    held_bytes: int = 0

    def rule_of(self, name: str) -> str | None:
        """Return the layer type, or the operations, whose rules cover a parameter, or ``None``."""
        if self.known.get(name):
            kinds = dict.fromkeys(read.kind.removesuffix("Backward0") for read in self.known[name])
            return "read by " + ", ".join(kinds)
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
    wanted = [name for name, value in weights.items() if value.requires_grad]
    with torch.enable_grad(), record_uses(plan.layers) as uses:
        value = objective(call_model(model, inputs), targets)[TRIAL_EXAMPLE]
    reads = find_parameter_uses(value)
    parameters = {name: weights[name] for name in wanted}
    candidates = open_candidates(value, parameters)
    edges = [use.edge for use in uses]
    edges += [item.read.edge for _, opened in candidates for item in opened]
    found, deltas = _differentiate(value, list(parameters.values()), edges)
    truths = TrialGradients(dict(zip(wanted, found, strict=True)))
    reasons: dict[str, str] = {}
    gradients = _try_rules(uses, deltas[: len(uses)], reasons)
    for name in wanted:
        if name in plan.fallback or name in reasons:
            continue
        seen = sum(name in use.covered.parameters.values() for use in uses)
        if len(reads.get(id(weights[name]), ())) > seen:
            reasons[name] = "read outside of its layer's call"
        elif not _agrees(gradients, name, truths):
            reasons[name] = "examples are not along the first axis, or the call is unusual"
    plan = drop_parameters(plan, reasons)
    unruled = {name: parameters[name] for name in plan.fallback}
    plan = _try_reads(plan, candidates, deltas[len(uses) :], unruled, truths)
    return _choose_fallback(model, plan, truths, inputs, targets, objective)


def _differentiate(
    value: Tensor, parameters: list[Tensor], edges: list[Any]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Differentiate by the parameters and by the layers' outputs."""
    if not value.requires_grad:
        return [torch.zeros_like(item) for item in parameters], [None] * len(edges)
    try:
        found = torch.autograd.grad(value, [*parameters, *edges], allow_unused=True)
    except RuntimeError as error:
        raise GradientError(
            f"The model cannot be differentiated ({str(error).splitlines()[0]}); expected a "
            "model that could be trained as it is. Look for a change in place, or a custom "
            "operation without a gradient."
        ) from error
    truths = [
        torch.zeros_like(item) if gradient is None else gradient.detach().to_dense()
        for item, gradient in zip(parameters, found, strict=False)
    ]
    return truths, list(found[len(parameters) :])


@torch.no_grad()
def _try_rules(
    uses: Sequence[LayerUse], deltas: Sequence[Tensor | None], reasons: dict[str, str]
) -> Gradients:
    gradients: Gradients = {}
    for use, delta in zip(uses, deltas, strict=True):
        names = use.covered.parameters
        if delta is None:
            continue
        try:
            if len(delta) != TRIAL_SIZE:
                raise UnsupportedUseError("examples are not along the first axis")
            found = use.covered.rule.function(use.covered.layer, use.arguments, delta)
        except (UnsupportedUseError, RuntimeError) as error:
            reasons.update(dict.fromkeys(names.values(), str(error).splitlines()[0]))
            continue
        for local_name, name in names.items():
            gradients.setdefault(name, []).append(found[local_name])
    return gradients


@torch.no_grad()
def _agrees(gradients: Gradients, name: str, truths: TrialGradients) -> bool:
    """Whether the rule gives autograd's gradient for the trial example, nothing for others."""
    if name not in gradients:
        return truths.is_zero(name)
    parts = list(instantiate_chunks(combine(gradients[name])))
    return truths.agrees_with(name, torch.cat(parts))


@torch.no_grad()
def _try_reads(
    plan: Plan,
    candidates: Opened,
    deltas: Sequence[Tensor | None],
    parameters: Mapping[str, Tensor],
    truths: TrialGradients,
) -> Plan:
    """Take parameters out of the fallback where operations' rules give autograd's gradients."""
    known: dict[str, Sequence[KnownRead]] = {}
    for name, reads, found in take_deltas(candidates, deltas):
        if name not in parameters or name in known:
            continue
        # As for layers: what a rule cannot follow goes to the fallback.
        try:
            layouts = learn_layouts(reads, found)
            parts = differentiate_reads(reads, found, layouts, parameters[name], TRIAL_SIZE)
        except (UnsupportedUseError, RuntimeError):
            continue
        if _agrees({name: parts} if parts else {}, name, truths):
            known[name] = layouts
    fallback = {name: reason for name, reason in plan.fallback.items() if name not in known}
    return replace(plan, fallback=fallback, known=known)


def _choose_fallback(
    model: nn.Module,
    plan: Plan,
    truths: TrialGradients,
    inputs: Any,
    targets: Any,
    objective: Objective,
) -> Plan:
    """Take ``torch.func`` where it gives the right numbers, else one example at a time."""
    if not plan.fallback:
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
        if all(truths.agrees_with_row(name, found[name][TRIAL_EXAMPLE]) for name in weights):
            return replace(plan, method=method)
    raise GradientError(
        f"The gradients of {', '.join(weights)} cannot be computed for one example at a time "
        f"({problem}). Expected a model that accepts a batch of one example and gives it the "
        "same output as in a larger batch. Choose other `layers`, or mend the model's forward."
    )
