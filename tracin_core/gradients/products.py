"""Dot products between two sets of per-example gradients, one of which is kept for many others.

A product of two sums of outer products over T positions can be taken by the factors,
``sum_tu (delta_t . delta'_u) (a_t . a'_u)``, which are ``T^2 (O + I)`` products a pair, or by the
whole gradients, ``O I`` products a pair and ``T O I`` to form each gradient once. The cheaper way
depends on how many partners a gradient has, so it is chosen for each product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tracin_core.gradients.factored import (
    BagGradients,
    Contribution,
    Dense,
    Outer,
    SparseRows,
    choose_chunks,
    instantiate_chunks,
)
from tracin_core.gradients.precision import multiply_long

# What an entry of the two factors' Gram matrices costs beside its products: it is written,
# multiplied and added up.
GRAM_COST = 64
# Numbers in the whole gradients of one side of a product: 256 MB in single precision.
WHOLE_NUMBERS = 1 << 26
# Gradients formed at once at least: fewer read all their partners anew too often.
LEAST_RUN = 32


def dot_products(left: Sequence[Contribution], right: Sequence[Contribution]) -> Tensor:
    """Return every dot product between two sets of gradients of one parameter.

    Args:
        left: All uses of the parameter by B examples.
        right: All uses by M examples.

    Returns:
        Shape ``(B, M)``.
    """
    if len(left) == len(right) == 1:
        products = _multiply_factors(left[0], right[0])
        if products is not None:
            return products
    most = max(1, WHOLE_NUMBERS // max(1, left[0].shape.numel()))
    is_dense = len(right) == 1 and isinstance(right[0], Dense)
    if is_dense or right[0].batch_size <= most:
        partners = instantiate(right)
        runs = _cut_uses(left, min(most, _choose_run(left)))
        return torch.cat([multiply_long(instantiate(run), partners) for run in runs])
    rows = []
    for some in _cut_uses(left, most):
        first = instantiate(some)
        parts = _cut_uses(right, most)
        rows.append(torch.cat([multiply_long(first, instantiate(part)) for part in parts], dim=1))
    return torch.cat(rows)


def _choose_run(uses: Sequence[Contribution]) -> int:
    """Return how many gradients are formed at once, so that they are multiplied in the cache."""
    sizes = uses[0].outer_sizes
    if sizes is None:
        return uses[0].batch_size
    positions, rows, columns = sizes
    chunks = choose_chunks(uses[0].device)
    most = chunks.patches // max(1, positions * columns)
    run = min(most, chunks.gradients // max(1, rows * columns))
    return max(LEAST_RUN, run)


def instantiate(uses: Sequence[Contribution]) -> Tensor:
    """Return whole gradients, summed over the uses, as a matrix ``(B, P)``."""
    parts = [part.reshape(len(part), part.shape[1:].numel()) for part in instantiate_chunks(uses)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True)
class KeptUses:
    """A parameter's gradients of some examples, in the form in which they are kept.

    Attributes:
        columns: Where the examples stand among all that are kept.
        uses: All uses of the parameter.
        is_ready: Whether products need no more of them; else whole gradients are formed for each.
    """

    columns: slice
    uses: Sequence[Contribution]
    is_ready: bool

    @property
    def nbytes(self) -> int:
        """What the tensors take."""
        return sum(tensor.nbytes for use in self.uses for tensor in _list_tensors(use))

    @property
    def whole_nbytes(self) -> int:
        """What they would take whole."""
        size = self.uses[0].batch_size * self.uses[0].shape.numel()
        # Whole gradients of half precision factors are in single precision.
        return size * max(4, _list_tensors(self.uses[0])[-1].element_size())

    def make_ready(self) -> KeptUses:
        """Return the same with whole gradients, where products need them."""
        if self.is_ready:
            return self
        shape = self.uses[0].shape
        whole = instantiate(self.uses)
        return KeptUses(self.columns, [Dense(whole.reshape(len(whole), *shape), shape)], True)


def keep_uses(columns: slice, uses: Sequence[Contribution], partners: int) -> KeptUses:
    """Return gradients as they are best kept: whole, or in what they are made of if that is less.

    Args:
        columns: Where the examples stand among all that are kept.
        uses: All uses of a parameter by these examples.
        partners: Number of gradients that train examples are multiplied by.
    """
    if not all(use.is_plain for use in uses):
        return KeptUses(columns, uses, False).make_ready()
    # Parts of tensors, which hold no graph.
    plain = KeptUses(columns, [use.narrow(0, use.batch_size) for use in uses], False)
    sizes = uses[0].outer_sizes if len(uses) == 1 else None
    if sizes is not None:
        positions, rows, columns_each = sizes
        is_short = positions * (rows + columns_each) <= rows * columns_each
        if positions == 1 or (is_short and _prefers_factors(sizes, positions, partners)):
            return replace(plain, uses=[uses[0].as_outer()], is_ready=True)
    if plain.nbytes >= plain.whole_nbytes:
        return plain.make_ready()
    is_table = len(uses) == 1 and isinstance(uses[0], SparseRows | BagGradients)
    return replace(plain, is_ready=is_table)


def join_kept(kept: Sequence[KeptUses]) -> list[KeptUses]:
    """Return what follows one another in one form as one, so that products are few and large."""
    runs: list[list[KeptUses]] = []
    for one in kept:
        if runs and _can_follow(runs[-1][-1], one):
            runs[-1].append(one)
        else:
            runs.append([one])
    return [run[0] if len(run) == 1 else _join_run(run) for run in runs]


def _can_follow(before: KeptUses, after: KeptUses) -> bool:
    first, second = before.uses[0], after.uses[0]
    return (
        before.is_ready
        and after.is_ready
        and before.columns.stop == after.columns.start
        and type(first) is type(second)
        and [t.shape[1:] for t in _list_tensors(first)]
        == [t.shape[1:] for t in _list_tensors(second)]
    )


def _join_run(run: Sequence[KeptUses]) -> KeptUses:
    alone: list[Any] = [one.uses[0] for one in run]
    names = [f.name for f in fields(alone[0]) if isinstance(getattr(alone[0], f.name), Tensor)]
    joined = {name: torch.cat([getattr(item, name) for item in alone]) for name in names}
    columns = slice(run[0].columns.start, run[-1].columns.stop)
    return KeptUses(columns, [replace(alone[0], **joined)], True)


def _list_tensors(use: Any) -> list[Tensor]:
    values = [getattr(use, field.name) for field in fields(use)]
    return [value for value in values if isinstance(value, Tensor)]


def _cut_uses(uses: Sequence[Contribution], most: int) -> Iterator[list[Contribution]]:
    size, step = uses[0].batch_size, max(1, most)
    for start in range(0, size, step):
        yield [use.narrow(start, min(start + step, size)) for use in uses]


def _prefers_factors(sizes: tuple[int, int, int], others: int, partners: int) -> bool:
    """Return whether the factors need less work than whole gradients.

    Args:
        sizes: Positions, rows and columns of a gradient.
        others: Positions of its partners.
        partners: How many they are: each gradient is formed once for all of them.
    """
    positions, rows, columns = sizes
    if positions == others == 1:
        return True
    by_factors = positions * others * (rows + columns + GRAM_COST)
    return by_factors < rows * columns * (1 + positions / max(1, partners))


def _multiply_factors(first: Contribution, second: Contribution) -> Tensor | None:
    """Return the dot products by the factors, or ``None`` where that is no gain."""
    if isinstance(second, Outer) and first.outer_sizes is not None:
        if not _prefers_factors(first.outer_sizes, second.positions, second.batch_size):
            return None
        outer = first.as_outer()
        if outer.positions == second.positions == 1:
            deltas = multiply_long(outer.deltas[:, 0], second.deltas[:, 0])
            return deltas.mul_(multiply_long(outer.inputs[:, 0], second.inputs[:, 0]))
        return _multiply_blocks(outer, second)
    if isinstance(first, SparseRows | BagGradients) and isinstance(
        second, SparseRows | BagGradients
    ):
        pairs = first.indices.shape[1] * second.indices.shape[1]
        if pairs * first.shape[1] < first.shape.numel():
            return _multiply_blocks(_as_rows(first), _as_rows(second))
    return None


def _multiply_blocks(first: Outer | SparseRows, second: Outer | SparseRows) -> Tensor:
    """Return the sums over all pairs of positions of what their factors have in common."""
    rows = []
    # Sixteen of the second at a time, so that its factors are not read anew for every example.
    for part in _cut(first, second.deltas.shape[1] * min(16, second.batch_size)):
        others = _cut(second, part.deltas.shape[:2].numel())
        rows.append(torch.cat([_multiply_pairs(part, other) for other in others], dim=1))
    return torch.cat(rows)


def _multiply_pairs(first: Outer | SparseRows, second: Outer | SparseRows) -> Tensor:
    """Multiply what each position of one has with each of the other; sum, ``(b, m)``."""
    products = multiply_long(first.deltas.flatten(0, 1), second.deltas.flatten(0, 1))
    if isinstance(first, Outer) and isinstance(second, Outer):
        products *= multiply_long(first.inputs.flatten(0, 1), second.inputs.flatten(0, 1))
    elif isinstance(first, SparseRows) and isinstance(second, SparseRows):
        # Different rows of a table have nothing in common.
        products *= first.indices.reshape(-1, 1) == second.indices.reshape(1, -1)
    pairs = products.view(*first.deltas.shape[:2], *second.deltas.shape[:2])
    sums: Tensor = pairs.sum((1, 3))
    return sums


def _cut(part: Outer | SparseRows, beside: int) -> Iterator[Outer | SparseRows]:
    """Yield runs of examples whose positions, each with so many others, fit a chunk."""
    most = choose_chunks(part.device).gradients
    step = max(1, most // max(1, part.deltas.shape[1] * beside))
    for start in range(0, part.batch_size, step):
        yield part.narrow(start, start + step)


def _as_rows(table: SparseRows | BagGradients) -> SparseRows:
    return table.as_rows() if isinstance(table, BagGradients) else table
