"""Tell how every parameter of a model is treated."""

from __future__ import annotations

from torch import nn

from tracin_core.gradients.coverage import Coverage, ParameterCoverage
from tracin_core.gradients.plan import Plan, draft_plan
from tracin_core.influence.layers import LayerChoice, find_parameters


def describe_coverage(
    model: nn.Module, layers: LayerChoice, confirmed: tuple[tuple[str, ...], Plan] | None
) -> Coverage:
    """Describe a confirmed plan, or before there is one what the layers' types promise.

    Args:
        model: The model.
        layers: The chosen layers. Which layer is the last is known from examples only; before,
            "last" is described as "all".
        confirmed: Chosen parameters and the plan that was checked on examples.
    """
    if confirmed is None:
        chosen = find_parameters(model, "all" if layers == "last" else layers)
        plan = draft_plan(model, chosen)
    else:
        chosen, plan = confirmed
    entries = [
        _describe(name, value, name in chosen, plan) for name, value in model.named_parameters()
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
