"""Exact dot products between the gradients of two sets of examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tracin_core.gradients.chunks import choose_chunks
from tracin_core.gradients.contributions import Contribution, Outer
from tracin_core.gradients.precision import multiply_long
from tracin_core.gradients.tables import Bags, Rows
from tracin_core.gradients.uses import instantiate_chunks


def dot_products(left: Sequence[Contribution], right: Sequence[Contribution]) -> Tensor:
    """Return every dot product between two sets of gradients of one parameter.

    Factored gradients need none of the gradients themselves where that is less work. Everything
    else is instantiated a few examples at a time.

    Args:
        left: All uses of the parameter by B examples.
        right: All uses by M examples.

    Returns:
        Shape ``(B, M)``.
    """
    if len(left) == len(right) == 1:
        products = _dot_factors(left[0], right[0])
        if products is not None:
            return products
    blocks = []
    for columns in instantiate_chunks(right):
        flat = columns.reshape(len(columns), -1)
        rows = [
            multiply_long(part.reshape(len(part), -1), flat) for part in instantiate_chunks(left)
        ]
        blocks.append(torch.cat(rows))
    return torch.cat(blocks, dim=1)


def _dot_factors(first: Contribution, second: Contribution) -> Tensor | None:
    """Return the dot products by the factors, or ``None`` where that is no gain."""
    if isinstance(first, Outer) and isinstance(second, Outer):
        if first.positions == second.positions == 1:
            deltas = multiply_long(first.deltas[:, 0], second.deltas[:, 0])
            return deltas * multiply_long(first.inputs[:, 0], second.inputs[:, 0])
        pairs = first.positions * second.positions
        if pairs * (first.deltas.shape[2] + first.inputs.shape[2]) < _count_whole(first, second):
            return _dot_blocks(first, second)
    if isinstance(first, Rows | Bags) and isinstance(second, Rows | Bags):
        pairs = first.indices.shape[1] * second.indices.shape[1]
        if pairs * first.shape[1] < _count_whole(first, second):
            return _dot_blocks(_as_rows(first), _as_rows(second))
    return None


def _count_whole(first: Contribution, second: Contribution) -> int:
    """Return the products that a pair of whole gradients takes, with making the first of them.

    It is made again for every chunk of the second.
    """
    numbers = first.shape.numel()
    positions = first.positions if isinstance(first, Outer) else 1
    together = min(
        second.batch_size, max(1, choose_chunks(second.device).gradients // max(1, numbers))
    )
    return numbers + numbers * positions // together


def _dot_blocks(first: Outer | Rows, second: Outer | Rows) -> Tensor:
    """Return the sums over all pairs of positions of what their factors have in common."""
    rows = []
    # Sixteen of the second at a time, so that its factors are not read anew for every example.
    for part in _cut(first, second.deltas.shape[1] * min(16, second.batch_size)):
        others = _cut(second, part.deltas.shape[:2].numel())
        rows.append(torch.cat([_dot_pairs(part, other) for other in others], dim=1))
    return torch.cat(rows)


def _dot_pairs(first: Outer | Rows, second: Outer | Rows) -> Tensor:
    """Multiply what each position of one has with each of the other; sum, ``(b, m)``."""
    products = multiply_long(first.deltas.flatten(0, 1), second.deltas.flatten(0, 1))
    if isinstance(first, Outer) and isinstance(second, Outer):
        products *= multiply_long(first.inputs.flatten(0, 1), second.inputs.flatten(0, 1))
    elif isinstance(first, Rows) and isinstance(second, Rows):
        # Different rows of a table have nothing in common.
        products *= first.indices.reshape(-1, 1) == second.indices.reshape(1, -1)
    pairs = products.view(*first.deltas.shape[:2], *second.deltas.shape[:2])
    sums: Tensor = pairs.sum((1, 3))
    return sums


def _cut(part: Outer | Rows, beside: int) -> Iterator[Outer | Rows]:
    """Yield runs of examples whose positions, each with so many others, fit a chunk."""
    most = choose_chunks(part.device).gradients
    step = max(1, most // max(1, part.deltas.shape[1] * beside))
    for start in range(0, part.batch_size, step):
        yield part.narrow(start, start + step)


def _as_rows(table: Rows | Bags) -> Rows:
    return table.as_rows() if isinstance(table, Bags) else table
