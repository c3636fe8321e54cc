"""Which example each row of a layer's output gradients belongs to, proved for a batch.

Every example's objective is multiplied by a power of two of its own and differentiated again. What
reaches a row is then the plain gradient times the power of the example that the row belongs to:
exactly, because such products round nothing. A row that several examples reach is no multiple of
its plain gradient. The sum over the examples proves nothing here: a permutation keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


def follows_examples(owners: Tensor, batch_size: int) -> bool:
    """Whether rows lie example by example, as many for each; rows of nobody may lie anywhere."""
    return _is_order(owners, batch_size, by_example=True)


def follows_positions(owners: Tensor, batch_size: int) -> bool:
    """Whether rows lie position by position, one of each example at every position."""
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
