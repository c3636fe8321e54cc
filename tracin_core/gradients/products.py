"""Exact dot products between the gradients of two sets of examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tracin_core.gradients.contributions import Contribution, Outer
from tracin_core.gradients.precision import multiply_wide
from tracin_core.gradients.uses import instantiate_chunks


def dot_products(left: Sequence[Contribution], right: Sequence[Contribution]) -> Tensor:
    """Return every dot product between two sets of gradients of one parameter.

    Two outer products need ``(delta . delta')(a . a')`` and no gradient at all. Everything
    else is instantiated a few examples at a time.

    Args:
        left: All uses of the parameter by B examples.
        right: All uses by M examples.

    Returns:
        Shape ``(B, M)``.
    """
    if len(left) == len(right) == 1 and isinstance(left[0], Outer) and isinstance(right[0], Outer):
        first, second = left[0], right[0]
        if first.positions == second.positions == 1:
            deltas = _dot_rows(first.deltas, second.deltas)
            return deltas * _dot_rows(first.inputs, second.inputs)
    blocks = []
    for columns in instantiate_chunks(right):
        flat = columns.reshape(len(columns), -1).T
        rows = [part.reshape(len(part), -1) @ flat for part in instantiate_chunks(left)]
        blocks.append(torch.cat(rows))
    return torch.cat(blocks, dim=1)


def _dot_rows(left: Tensor, right: Tensor) -> Tensor:
    """Return all dot products of ``(B, 1, n)`` with ``(M, 1, n)``, shape ``(B, M)``."""
    return multiply_wide(left.transpose(0, 1), right.permute(1, 2, 0))[0]
