"""Give rows that lie in any order, as many as they are, back to their examples.

A rule that is applied to R rows gives R gradients. Routed, packed, sorted and unpadded batches
have none, one or several rows of each example; their gradients are summed by example here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tracin_core.gradients.contributions import Contribution, Dense, Outer
from tracin_core.gradients.convolution import Kernel
from tracin_core.gradients.owners import NOBODY
from tracin_core.gradients.registry import UnsupportedUseError
from tracin_core.gradients.tables import Bags, Rows


@dataclass(frozen=True)
class RowGroups:
    """Which rows each example has.

    Attributes:
        index: A row in each slot, shape ``(B, S)``, S the most rows of an example.
        present: Whether the slot is taken, shape ``(B, S)``.
    """

    index: Tensor
    present: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Return rows ``(R, ...)`` as ``(B, S, ...)``, zero in free slots."""
        if not len(values):
            return values.new_zeros(*self.index.shape, *values.shape[1:])
        taken = values[self.index]
        return taken.masked_fill(
            ~self.present.reshape(*self.index.shape, *[1] * (values.dim() - 1)), 0
        )


def group_rows(owners: Tensor, batch_size: int) -> RowGroups:
    """Group rows by their owners.

    Args:
        owners: Shape ``(R,)``; rows of nobody are left out.
        batch_size: Number of examples B.
    """
    order = owners.argsort(stable=True)
    order = order[int((owners == NOBODY).sum()) :]
    counts = torch.bincount(owners[order], minlength=batch_size)
    most = int(counts.max()) if batch_size else 0
    firsts = counts.cumsum(0) - counts
    slots = torch.arange(most, device=owners.device)
    present = slots < counts.unsqueeze(1)
    places = (firsts.unsqueeze(1) + slots).clamp_max(max(0, len(order) - 1))
    index = order[places] if len(order) else places.new_zeros(places.shape)
    return RowGroups(index, present)


def regroup(found: Sequence[tuple[Contribution, Tensor]], batch_size: int) -> list[Contribution]:
    """Sum the gradients of rows by example.

    Args:
        found: Contributions of R rows each, and the rows' owners.
        batch_size: Number of examples B.

    Returns:
        Contributions of B examples with the same total.

    Raises:
        UnsupportedUseError: If a contribution is of a kind whose rows cannot be put together.
    """
    outers: list[tuple[Outer, Tensor]] = []
    rows: list[tuple[Rows, Tensor]] = []
    joined: list[Contribution] = []
    for item, owners in found:
        if isinstance(item, Outer):
            outers.append((item, owners))
        elif isinstance(item, Rows | Bags):
            rows.append((item.as_rows() if isinstance(item, Bags) else item, owners))
        elif isinstance(item, Dense):
            joined.append(_sum_dense(item, owners, batch_size))
        elif isinstance(item, Kernel):
            joined += _split_kernel(item, group_rows(owners, batch_size))
        else:
            raise UnsupportedUseError(f"rows of {type(item).__name__} in another order")
    if outers:
        groups = group_rows(_join_owners([(o.positions, w) for o, w in outers]), batch_size)
        deltas = groups.gather(torch.cat([item.deltas.flatten(0, 1) for item, _ in outers]))
        inputs = groups.gather(torch.cat([item.inputs.flatten(0, 1) for item, _ in outers]))
        joined.append(Outer(deltas, inputs, outers[0][0].shape))
    if rows:
        groups = group_rows(_join_owners([(r.indices.shape[1], w) for r, w in rows]), batch_size)
        indices = groups.gather(torch.cat([item.indices.flatten() for item, _ in rows]))
        deltas = groups.gather(torch.cat([item.deltas.flatten(0, 1) for item, _ in rows]))
        joined.append(Rows(indices, deltas, rows[0][0].shape))
    return joined


def _join_owners(parts: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Return the owner of every position of every row."""
    return torch.cat([owners.repeat_interleave(positions) for positions, owners in parts])


def _sum_dense(item: Dense, owners: Tensor, batch_size: int) -> Dense:
    taken = owners != NOBODY
    gradients = item.instantiate()
    total = gradients.new_zeros(batch_size, *gradients.shape[1:])
    total.index_add_(0, owners[taken], gradients[taken])
    return Dense(total, item.shape)


def _split_kernel(item: Kernel, groups: RowGroups) -> list[Contribution]:
    """Return one contribution for each slot; a convolution's examples cannot be longer."""
    inputs, deltas = groups.gather(item.inputs), groups.gather(item.deltas)
    return [
        Kernel(inputs[:, slot], deltas[:, slot], item.layer, item.shape)
        for slot in range(groups.index.shape[1])
    ]
