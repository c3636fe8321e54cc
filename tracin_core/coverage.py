"""How every parameter of a model is treated: by a rule, the fallback, or not at all, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import nn

from tracin_core.gradients.plan import COVERED, Coverage, ParameterCoverage, Plan, draft_plan
from tracin_core.layers import find_parameters


def describe_coverage(
    model: nn.Module,
    layers: str | Sequence[str],
    confirmed: tuple[tuple[str, ...], Plan] | None,
    training_only: Collection[str] = (),
) -> Coverage:
    """Describe a confirmed plan, or before there is one what the layers' types promise.

    Args:
        model: The model.
        layers: The chosen layers. Which layer is the last is known from examples only; before,
            "last" is described as "all".
        confirmed: Chosen parameters and the plan that was checked on examples.
        training_only: Parameters that reach the outputs in training mode only.
    """
    if confirmed is None:
        chosen = find_parameters(model, "all" if layers == "last" else layers)
        plan = draft_plan(model, chosen)
    else:
        chosen, plan = confirmed
    entries = [
        _describe(name, value, name in chosen, plan) for name, value in model.named_parameters()
    ]
    entries = [
        replace(entry, reason=f"{entry.reason}; reaches the outputs in training mode only")
        if entry.name in training_only and entry.method in COVERED
        else entry
        for entry in entries
    ]
    return Coverage(tuple(entries), confirmed is not None)


def _describe(name: str, value: nn.Parameter, is_chosen: bool, plan: Plan) -> ParameterCoverage:
    size = value.numel()
    if not value.requires_grad:
        return ParameterCoverage(name, size, "frozen", "requires_grad is false")
    if not is_chosen:
        return ParameterCoverage(name, size, "not chosen", "it belongs to no chosen layer")
    if name in plan.fallback:
        return ParameterCoverage(name, size, plan.method, plan.fallback[name])
    reason = plan.rule_of(name) or "not used by any layer"
    if name in plan.proofs.notes:
        reason += f"; in some batches one example at a time, because {plan.proofs.notes[name]}"
    return ParameterCoverage(name, size, "rule", reason)
