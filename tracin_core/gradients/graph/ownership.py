"""Which example each row of a layer's output gradients belongs to, proved for a batch.

Every example's objective is multiplied by a power of two of its own and differentiated again. What
reaches a row is then the plain gradient times the power of the example that the row belongs to:
exactly, because such products round nothing. A row that several examples reach is no multiple of
its plain gradient. The sum over the examples proves nothing here: a permutation keeps it.

A rule that is applied to R rows gives R gradients. Routed, packed, sorted and unpadded batches
have none, one or several rows of each example; ``regroup`` sums their gradients by example. Where
the examples lie along one axis in a known order, ``find_layout`` names that axis and order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tracin_core.gradients.factored import BagGradients, Contribution, Dense, Outer, SparseRows
from tracin_core.gradients.graph.places import ListedRows, Place, find_axis
from tracin_core.gradients.rules.conv import Kernel
from tracin_core.gradients.rules.registry import UnsupportedUseError

# Powers of two that a pass can tell apart, by number type: enough below the largest number that
# a gradient has room for it too. More examples take more passes, one for each digit.
LEVELS = {torch.float64: 512, torch.float32: 41, torch.bfloat16: 41}
LOW_LEVELS = 9
# What a row may be off its multiple, relative to its largest number. Next to nothing on processors,
# which add up in the same order again; on other devices sums may come in any.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
PROCESSOR_TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}
LOOSE_TOLERANCE = 2e-2
# Objectives whose gradients differ by more are made alike first: beside an outlier's, another
# example's share of a row would be lost in rounding, and the row taken for the outlier's alone.
SPREAD = 16.0
NOBODY = -1


@dataclass(frozen=True)
class MarkedGradients:
    """Gradients at one output, plain and of the marked objectives.

    Attributes:
        plain: Gradient of the sum of all objectives; the tensor's own shape.
        marked: The same with marks, one for each digit.
        levels: The base of the digits.
        batch_size: Number of examples B.
    """

    plain: Tensor
    marked: tuple[Tensor, ...]
    levels: int
    batch_size: int

    def find_owners(self, axis: int = 0) -> Tensor | None:
        """Return the example of each row along an axis, shape ``(R,)``; -1 for rows of zeros.

        Rows with numbers that are not finite tell nothing; as many rows as examples are taken to
        lie in their order, so that such an example is named where gradients are looked at.

        Returns:
            ``None`` if a row belongs to several examples, or may do so.
        """
        if self.plain.is_nested:
            return None
        rows = _flatten(self.plain, axis)
        owners = torch.full((len(rows),), NOBODY, dtype=torch.long, device=rows.device)
        if not rows.numel():
            return owners
        peaks, places = rows.abs().max(1)
        broken = ~torch.isfinite(peaks)
        if bool(broken.any()) and len(rows) != self.batch_size:
            return None
        alive = (peaks > 0) & ~broken
        base = torch.where(alive, rows.gather(1, places[:, None])[:, 0], torch.ones_like(peaks))
        tolerances = PROCESSOR_TOLERANCES if rows.device.type == "cpu" else TOLERANCES
        bound = peaks.double() * tolerances.get(rows.dtype, LOOSE_TOLERANCE)
        found, weight = torch.zeros_like(owners), 1
        for tensor in self.marked:
            other = _flatten(tensor, axis)
            ratios = torch.where(
                alive, other.gather(1, places[:, None])[:, 0].double() / base.double(), 1.0
            )
            digits = ratios.log2().round()
            # Written so that a NaN fails.
            if not bool(((digits >= 0) & (digits < self.levels)).all()):
                return None
            powers = torch.exp2(digits)
            off = (other - rows * powers.to(rows.dtype)[:, None]).abs().amax(1).double()
            if not bool((broken | (off <= bound * powers)).all()):
                return None
            found += digits.long() * weight
            weight *= self.levels
        if bool((found[alive] >= self.batch_size).any()):
            return None
        owners = torch.where(alive, found, owners)
        return torch.where(broken, torch.arange(len(rows), device=rows.device), owners)


def differentiate_marked(
    values: Tensor,
    edges: Sequence[Any],
    *,
    scales: Tensor | None = None,
    keep_graph: bool = False,
) -> list[MarkedGradients | None]:
    """Differentiate the examples' objectives, plain and marked.

    Args:
        values: One number for each example, shape ``(B,)``.
        edges: Where to.
        scales: Powers of two that the objectives are multiplied by first, shape ``(B,)``.
        keep_graph: Whether the graph is needed afterwards.

    Returns:
        For each edge its gradients, or ``None`` where nothing reaches it.
    """
    size = len(values)

    def differentiate(marks: Tensor, keep: bool) -> Sequence[Tensor | None]:
        found: Sequence[Tensor | None] = torch.autograd.grad(
            values, edges, marks, allow_unused=True, retain_graph=keep
        )
        return found

    ones = torch.ones_like(values) if scales is None else scales.to(values.dtype)
    plain = differentiate(ones, True)
    kinds = {gradient.dtype for gradient in plain if gradient is not None} | {values.dtype}
    levels = min(LEVELS.get(kind, LOW_LEVELS) for kind in kinds)
    examples = torch.arange(size, device=values.device)
    digits: list[Tensor] = []
    reach = 1
    while not digits or reach < size:
        digits.append((examples // reach) % levels)
        reach *= levels
    passes = [
        differentiate(
            ones * torch.exp2(digit.to(values.dtype)), keep_graph or index + 1 < len(digits)
        )
        for index, digit in enumerate(digits)
    ]
    return [
        None
        if gradient is None
        else MarkedGradients(
            gradient,
            tuple(
                torch.zeros_like(gradient) if each[index] is None else each[index]  # type: ignore[misc]
                for each in passes
            ),
            levels,
            size,
        )
        for index, gradient in enumerate(plain)
    ]


def find_scales(values: Tensor, outputs: Sequence[Tensor]) -> Tensor | None:
    """Return powers of two that make the objectives' gradients about as large as each other.

    Args:
        values: One number for each example, shape ``(B,)``.
        outputs: What they are computed of, a row for each example.

    Returns:
        Shape ``(B,)``; ``None`` where the gradients are alike as they are.
    """
    found = torch.autograd.grad(
        values, outputs, torch.ones_like(values), allow_unused=True, retain_graph=True
    )
    sizes = torch.zeros(len(values), dtype=torch.float64)
    for gradient in found:
        if gradient is not None and gradient.numel():
            sizes = sizes.maximum(_flatten(gradient, 0).abs().amax(1).to("cpu", torch.float64))
    alive = (sizes > 0) & torch.isfinite(sizes)
    if not bool(alive.any()) or float(sizes[alive].max() / sizes[alive].min()) <= SPREAD:
        return None
    # Not further than single precision has room for, with a mark on top.
    exponents = -torch.where(alive, sizes, 1.0).log2().round().clamp(-60, 60)
    return torch.exp2(exponents).to(values.device)


def undo_scales(
    gradient: Tensor | None, layout: Layout | None, scales: Tensor, batch_size: int
) -> Tensor | None:
    """Return the gradient of the objectives as they are; exact, as scales are powers of two.

    Args:
        gradient: Of the scaled objectives.
        layout: Whose its rows are; without it they are of no use.
        scales: What ``find_scales`` returned.
        batch_size: Number of examples B.

    Raises:
        UnsupportedUseError: If the examples are not where the layout says.
    """
    if gradient is None or layout is None:
        return None
    rows = gradient.shape[layout.axis]
    owners = layout.find_owners(rows, batch_size, gradient.device)
    factors = torch.where(owners == NOBODY, 1.0, scales.reciprocal()[owners.clamp_min(0)])
    shape = [rows if axis == layout.axis else 1 for axis in range(gradient.dim())]
    return gradient * factors.to(gradient.real.dtype).reshape(shape)


def follows_examples(owners: Tensor, batch_size: int) -> bool:
    """Return whether rows lie example by example, as many of each; those of nobody anywhere."""
    return _is_order(owners, batch_size, by_example=True)


def follows_positions(owners: Tensor, batch_size: int) -> bool:
    """Return whether rows lie position by position, one of each example at every position."""
    return _is_order(owners, batch_size, by_example=False)


def _is_order(owners: Tensor, batch_size: int, *, by_example: bool) -> bool:
    if not batch_size or len(owners) % batch_size:
        return False
    places = torch.arange(len(owners), device=owners.device)
    expected = places // (len(owners) // batch_size) if by_example else places % batch_size
    return bool(((owners == NOBODY) | (owners == expected)).all())


def _flatten(tensor: Tensor, axis: int) -> Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    rows = tensor.movedim(axis, 0)
    return rows.reshape(len(rows), -1) if rows.numel() else rows.new_zeros(len(rows), 0)


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
    rows: list[tuple[SparseRows, Tensor]] = []
    joined: list[Contribution] = []
    for item, owners in found:
        if isinstance(item, Outer):
            outers.append((item, owners))
        elif isinstance(item, SparseRows | BagGradients):
            rows.append((item.as_rows() if isinstance(item, BagGradients) else item, owners))
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
        joined.append(SparseRows(indices, deltas, rows[0][0].shape))
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


Order = Literal["examples", "positions", "any"]


@dataclass(frozen=True)
class Layout:
    """One way that examples and positions may lie.

    Attributes:
        axis: The axis that holds the examples.
        order: Which of the two changes slower along it: all positions of one example lie
            together ("examples"), or one position of all examples ("positions"). "any": as
            ``owners`` say of this one batch.
        owners: The example of each row, where they lie in any order, shape ``(R,)``.
    """

    axis: int
    order: Order
    owners: Tensor | None = None

    def is_plain(self, rows: int, batch_size: int) -> bool:
        """Return whether every example has one row, in its turn."""
        return rows == batch_size and self.order == "examples"

    def find_owners(self, rows: int, batch_size: int, device: torch.device) -> Tensor:
        """Return the example of each row, shape ``(R,)``; -1 for a row of nobody.

        Raises:
            UnsupportedUseError: If there are not as many rows of each example.
        """
        if self.owners is not None:
            return self.owners.to(device)
        if rows % max(1, batch_size):
            raise UnsupportedUseError("the examples are not where they were")
        places = torch.arange(rows, device=device)
        if self.order == "positions":
            return places % max(1, batch_size)
        return places // max(1, rows // max(1, batch_size))

    def arrange(self, values: Tensor, batch_size: int) -> Tensor:
        """Return the values as ``(B, T, ...)``, the other axes in their order.

        Raises:
            UnsupportedUseError: If the axis is missing or holds no such number of examples.
        """
        if values.dim() <= self.axis:
            raise UnsupportedUseError("the examples are not where they were")
        front = values.movedim(self.axis, 0)
        if self.owners is not None:
            return group_rows(self.owners.to(front.device), batch_size).gather(front)
        if len(front) % max(1, batch_size):
            raise UnsupportedUseError("the examples are not where they were")
        rest = front.shape[1:]
        positions = len(front) // max(1, batch_size)
        if self.order == "examples":
            return front.reshape(batch_size, positions, *rest)
        return front.reshape(positions, batch_size, *rest).transpose(0, 1)


def find_layout(gradients: MarkedGradients, axes: Iterable[int], least: int = 0) -> Layout:
    """Find where the examples are, from what each example's objective gives.

    Where rows belong to one example each along several axes, so does every number, and either
    axis gives the same gradients.

    Args:
        gradients: At the result of an operation.
        axes: Axes that may hold the examples.
        least: Examples whose rows must be seen.

    Returns:
        A layout in which every row belongs to one example; of several one that is a known order.

    Raises:
        UnsupportedUseError: If there is none.
    """
    candidates = list(axes)
    if gradients.batch_size == 1 and candidates:
        # All there is belongs to the one example.
        return Layout(candidates[0], "examples")
    fitting = []
    for axis in candidates:
        owners = gradients.find_owners(axis)
        if owners is None:
            continue
        seen = int((torch.bincount(owners[owners != NOBODY]) > 0).sum())
        if seen >= least:
            fitting.append(_name_order(axis, owners, gradients.batch_size))
    if not fitting:
        raise UnsupportedUseError(
            "a row belongs to several examples, or the examples are along another axis"
        )
    if len(fitting) > 1 and not bool(torch.isfinite(gradients.plain).all()):
        raise UnsupportedUseError("the gradients do not tell where the examples are")
    return min(fitting, key=lambda layout: ("examples", "positions", "any").index(layout.order))


def name_layout(
    shape: Sequence[int], place: Place | ListedRows, axes: Iterable[int], batch_size: int
) -> Layout | None:
    """Name a place that the graph proves; ``None`` if it is none of the layouts.

    Args:
        shape: Shape of the tensor.
        place: Where the examples are in it.
        axes: Axes that may hold the examples.
        batch_size: Number of examples B.
    """
    axis = find_axis(shape, place, batch_size)
    if axis is None or axis.index not in axes:
        return None
    if axis.rows is not None:
        return _name_order(0, torch.tensor(axis.rows.owners), batch_size)
    if 1 not in (axis.outer, axis.inner):
        return None
    return Layout(axis.index, "examples" if axis.outer == 1 else "positions")


def _name_order(axis: int, owners: Tensor, batch_size: int) -> Layout:
    by_example = follows_examples(owners, batch_size)
    by_position = follows_positions(owners, batch_size)
    if by_example and (len(owners) == batch_size or not by_position):
        return Layout(axis, "examples")
    if by_position and not by_example:
        return Layout(axis, "positions")
    # Any order, or too few rows to tell one from another.
    return Layout(axis, "any", owners)
