"""All uses of one parameter: joined, measured, and summed before a norm is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tracin_core.gradients.contributions import Contribution, Outer, split, take_squared_norms
from tracin_core.gradients.tables import Bags, Rows

if TYPE_CHECKING:
    from tracin_core.gradients.sketch import Sketch


def combine(contributions: Sequence[Contribution]) -> list[Contribution]:
    """Join a parameter's uses where that keeps them factored.

    Several sums of outer products are one longer sum, so a Linear used twice, or two tied
    ones, stay factored. The same holds for rows.

    Args:
        contributions: All uses of one parameter in one batch.

    Returns:
        Fewer contributions with the same total.
    """
    if len(contributions) == 1:
        return list(contributions)
    outers = [item for item in contributions if isinstance(item, Outer)]
    rows = [item for item in contributions if isinstance(item, Rows)]
    bags = [item for item in contributions if isinstance(item, Bags)]
    joined = [item for item in contributions if not isinstance(item, Outer | Rows | Bags)]
    if len(bags) == 1 and not rows:
        joined += bags
    else:
        rows += [bag.as_rows() for bag in bags]
    if outers:
        deltas = _join([item.deltas for item in outers])
        joined.append(Outer(deltas, _join([item.inputs for item in outers]), outers[0].shape))
    if rows:
        indices = _join([item.indices for item in rows])
        joined.append(Rows(indices, _join([item.deltas for item in rows]), rows[0].shape))
    return joined


def measure(
    contributions: Sequence[Contribution], sketch: Sketch | None = None, name: str = ""
) -> Tensor:
    """Return the squared norm of the sum of a parameter's uses, shape ``(B,)``.

    The gradients are summed over the uses before the norm is taken; adding the norms of the
    uses would drop their cross terms. What must be instantiated is instantiated once, for the
    norm and for the sketch.

    Args:
        contributions: All uses of one parameter in one batch.
        sketch: Where the projections are added, if they are wanted.
        name: The parameter's name.
    """
    if len(contributions) == 1 and contributions[0].is_factored:
        if sketch is not None:
            contributions[0].add_to_sketch(sketch, name)
        return contributions[0].squared_norms()
    norms, start = [], 0
    for gradients in instantiate_chunks(contributions):
        if sketch is not None:
            sketch.add_dense(name, gradients, start)
        norms.append(take_squared_norms(gradients))
        start += len(gradients)
    return torch.cat(norms)


def instantiate_chunks(contributions: Sequence[Contribution]) -> Iterator[Tensor]:
    """Yield whole gradients, summed over the uses, for a few examples at a time."""
    parts = zip(*(split(item) for item in contributions), strict=True)
    for uses in parts:
        gradients = uses[0].instantiate()
        for use in uses[1:]:
            gradients = gradients + use.instantiate()
        yield gradients


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=1)
