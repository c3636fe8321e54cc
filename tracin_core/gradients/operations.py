"""Per-example gradients of what an operation reads, from its other operand and its result.

Each rule is for one operation of the gradient graph, as the rules of layers are for one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tracin_core.gradients.contributions import Contribution, Dense, Outer
from tracin_core.gradients.layouts import Layout
from tracin_core.gradients.precision import widen
from tracin_core.gradients.reads import LOOKED_UP, REPEATED, Read
from tracin_core.gradients.registry import UnsupportedUseError
from tracin_core.gradients.tables import Rows


@dataclass(frozen=True)
class Operand:
    """What a rule needs beside the gradients at the operation's result.

    Attributes:
        other: The other factor, the indices of a look-up, or nothing.
        scale: A number that multiplies the parameter.
        is_product: Whether this is a product of matrices, with the parameter on the right.
    """

    other: Tensor | None = None
    scale: float = 1.0
    is_product: bool = False


def _read_addmm(node: Any, position: int) -> Operand:
    if position == 0:
        return Operand(scale=node._saved_beta)
    if position == 2 and node._saved_alpha == 1:
        return Operand(node._saved_mat1, is_product=True)
    raise UnsupportedUseError("the parameter is the left factor of a product")


def _read_mm(node: Any, position: int) -> Operand:
    if position == 1:
        return Operand(node._saved_self, is_product=True)
    raise UnsupportedUseError("the parameter is the left factor of a product")


def _read_add(node: Any, position: int) -> Operand:
    return Operand(scale=node._saved_alpha if position else 1)


def _read_subtract(node: Any, position: int) -> Operand:
    return Operand(scale=-node._saved_alpha if position else 1)


def _read_multiply(node: Any, position: int) -> Operand:
    return Operand(node._saved_self if position else node._saved_other)


OPERATIONS: dict[str, Callable[[Any, int], Operand]] = {
    "AddmmBackward0": _read_addmm,
    "MmBackward0": _read_mm,
    "AddBackward0": _read_add,
    "SubBackward0": _read_subtract,
    "MulBackward0": _read_multiply,
    LOOKED_UP: lambda node, position: Operand(node._saved_indices),
    REPEATED: lambda node, position: Operand(),
}


def read_operand(read: Read) -> Operand:
    """Return what a rule needs; before the backward pass, which gives it back.

    Raises:
        UnsupportedUseError: If no rule covers this use.
        RuntimeError: If the operand was changed in place since.
    """
    return OPERATIONS[read.kind](read.node, read.position)


def find_axes(read: Read, operand: Operand, dim: int) -> list[int]:
    """Return the axes of an operation's result, of ``dim`` axes, that may hold the examples."""
    if operand.is_product:
        return [0]
    if read.kind == LOOKED_UP:
        return list(range(dim - 1))
    aligned = _align(read.shape, dim)
    return [axis for axis, size in enumerate(aligned) if size == 1]


def differentiate_operation(
    read: Read, operand: Operand, deltas: Tensor, layout: Layout, batch_size: int
) -> Contribution:
    """Return the gradients of what an operation read, for each example.

    Args:
        read: The operation.
        operand: Its other operand.
        deltas: Gradients at its result.
        layout: Where the examples are in the result.
        batch_size: Number of examples B.

    Returns:
        Gradients of the parameter's view, shape ``(B, *read.shape)``.

    Raises:
        UnsupportedUseError: If the examples are not where the layout says.
    """
    deltas, other = widen((deltas, operand.other))
    if operand.is_product:
        inputs = layout.arrange(other, batch_size)
        return Outer(inputs, layout.arrange(deltas, batch_size), read.shape)
    if read.kind == LOOKED_UP:
        rows = layout.arrange(deltas, batch_size).reshape(batch_size, -1, read.shape[1])
        indices = layout.arrange(other, batch_size).reshape(batch_size, -1)
        kept = (indices != read.node._saved_padding_idx).unsqueeze(2)
        return Rows(indices, rows * kept, read.shape)
    if other is not None:
        deltas = deltas * other
    summed = layout.arrange(deltas, batch_size).sum(1)
    aligned = _align(read.shape, deltas.dim())
    del aligned[layout.axis]
    repeated = [axis for axis, size in enumerate(aligned, 1) if size == 1]
    if repeated:
        summed = summed.sum(repeated)
    if operand.scale != 1:
        summed = summed * operand.scale
    return Dense(summed.reshape(batch_size, *read.shape), read.shape)


def _align(shape: torch.Size, dim: int) -> list[int]:
    """Return a shape with ones in front, as it is broadcast to ``dim`` axes."""
    return [1] * (dim - len(shape)) + list(shape)
