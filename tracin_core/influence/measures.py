"""Squared gradient norms of one pass, by parameter and added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tracin_core.gradients.sketch import Sketch
from tracin_core.gradients.uses import measure
from tracin_core.influence.passes import ExamplePass
from tracin_core.influence.rates import Rates, add_up


def measure_pass(
    step: ExamplePass,
    names: Sequence[str],
    sketch: Sketch | None = None,
    sketched: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Return each parameter's squared gradient norms ``(B,)``, and fill a sketch on the way."""
    wanted = set(sketched)
    with torch.no_grad():
        return {
            name: measure(uses, sketch if name in wanted else None, name)
            for name, uses in step.captured.gradients.items()
            if name in names
        }


def sum_norms(
    norms: Mapping[str, Tensor],
    names: Sequence[str],
    step: ExamplePass,
    rates: Rates | None = None,
) -> Tensor:
    """Return ``sum_p rate_p |gradient_p|^2`` over some parameters, shape ``(B,)``.

    Args:
        norms: What ``measure_pass`` returned; a parameter that nothing reaches is not there.
        names: The parameters.
        step: The pass.
        rates: What norms are multiplied by; ``None`` for one.
    """
    found = {name: norms[name] for name in names if name in norms}
    if not found:
        return torch.zeros_like(step.captured.values)
    return add_up(found.values()) if rates is None else rates.weigh(step.checkpoint, found)


def rows_of(step: ExamplePass) -> slice:
    """Return where the examples of a pass stand in the results."""
    return slice(step.batch.start, step.batch.start + step.batch.size)
