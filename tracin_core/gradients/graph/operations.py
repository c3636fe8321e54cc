"""What operations do with a parameter, or a tensor made of parameters, that examples share.

Each rule here is for one operation, as the rules of layers are for one layer: from the other
operand and the gradients at the result come those of what was read, for each example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge

from tracin_core.gradients.factored import Contribution, Dense, Outer, SparseRows
from tracin_core.gradients.graph.ownership import Layout
from tracin_core.gradients.graph.stacks import StackedOuter
from tracin_core.gradients.normalized import sum_centred
from tracin_core.gradients.precision import add_wide, widen
from tracin_core.gradients.rules.conv import ConvolutionCall, Kernel
from tracin_core.gradients.rules.registry import UnsupportedUseError

# Operations that only rearrange, cut or look up a parameter, whatever the examples are. A few
# of them may also be what brings the examples in; the trial tells which.
TRANSPOSED = "TBackward0"
LOOKED_UP = "EmbeddingBackward0"
PICKED = "IndexBackward0"
EXPANDED = "ExpandBackward0"
REPEATED = "RepeatBackward0"
CAST = "ToCopyBackward0"
VIEWS = frozenset(
    f"{name}Backward0"
    for name in (
        *("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Alias", "Clone"),
        *("Squeeze", "Unsqueeze", "Slice", "Select", "Split", "SplitWithSizes", "Unbind"),
        *("Expand", "Embedding", "ToCopy"),
    )
)


@dataclass(frozen=True)
class ParameterUse:
    """One operation that reads a parameter, or a tensor made of it.

    Attributes:
        node: The operation, in the gradient graph.
        position: Which of its inputs the tensor is.
        shape: Shape of the tensor.
        views: What made the tensor, from the parameter on: operations and which result of each.
        passed: Names of those that are more than views.
        looked_up: Indices and the one without gradient, where the tensor is rows looked up alike
            for all examples. Taken at once: a backward pass lets go of them.
    """

    node: Any
    position: int
    shape: torch.Size
    views: tuple[tuple[Any, int], ...] = ()
    passed: tuple[str, ...] = ()
    looked_up: tuple[Tensor, int] | None = None

    @property
    def kind(self) -> str:
        """Name of the operation."""
        name: str = self.node.name()
        return name

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the operations from the parameter to this one, without views on the way."""
        return (*self.passed, self.kind)

    @property
    def edge(self) -> GradientEdge:
        """The operation's result in the gradient graph."""
        return GradientEdge(self.node, 0)


@dataclass(frozen=True)
class Operand:
    """What a rule needs beside the gradients at the operation's result.

    Attributes:
        other: The other factor, the indices of a look-up, or nothing.
        make: Makes the other factor when it is wanted, where that is as large as the examples.
        add_up: Multiplies gradients ``(R, channels, ...)`` by the other factor and adds up over
            space, in one pass over both.
        scale: A number that multiplies what was read.
        factor: Which factor of a product of matrices was read, if it is one.
        repeats: How often each axis of what was read is repeated.
        ends: Of a product with a stack of matrices, after which row each matrix gives way to the
            next.
        channels: The axis of the result along which what was read lies, where it is not the last.
        convolution: How a convolution was called, if a kernel was read.
        is_transposed: Whether it was a transposed one.
    """

    other: Tensor | None = None
    make: Callable[[], Tensor] | None = None
    add_up: Callable[[Tensor], Tensor] | None = None
    scale: float = 1.0
    factor: Literal["left", "right"] | None = None
    repeats: tuple[int, ...] | None = None
    ends: Tensor | None = None
    channels: int | None = None
    convolution: ConvolutionCall | None = None
    is_transposed: bool = False

    @property
    def is_product(self) -> bool:
        """Whether each example's gradient is a sum of products, which need not be written out."""
        products = (self.factor, self.convolution, self.ends)
        return any(item is not None for item in products)


def read_operand(read: ParameterUse) -> Operand:
    """Return what a rule needs; before the backward pass, which gives it back.

    Raises:
        UnsupportedUseError: If no rule covers this use.
        RuntimeError: If the operand was changed in place since.
    """
    return OPERATIONS[read.kind](read.node, read.position)


def find_axes(read: ParameterUse, operand: Operand, dim: int) -> list[int]:
    """Return the axes of an operation's result, of ``dim`` axes, that may hold the examples."""
    if operand.factor is not None:
        return [dim - 2 if operand.factor == "right" else dim - 1]
    if operand.convolution is not None or operand.ends is not None:
        return [0]
    if read.kind in (LOOKED_UP, PICKED):
        return list(range(dim - 1))
    if operand.repeats is not None:
        return [axis for axis, times in enumerate(operand.repeats) if times > 1]
    aligned = _align(read.shape, dim, operand.channels)
    return [axis for axis, size in enumerate(aligned) if size == 1]


def differentiate_operation(
    read: ParameterUse, operand: Operand, deltas: Tensor, layout: Layout, batch_size: int
) -> Contribution:
    """Return the gradients of what an operation read, for each example.

    Args:
        read: The operation.
        operand: Its other operand.
        deltas: Gradients at its result.
        layout: Where the examples are in the result.
        batch_size: Number of examples B.

    Returns:
        Gradients of the tensor, shape ``(B, *read.shape)``.

    Raises:
        UnsupportedUseError: If the examples are not where the layout says.
    """
    if operand.channels == 1 and layout.axis == 0 and deltas.dim() > 2:
        return _differentiate_channels(read, operand, widen(deltas), layout, batch_size)
    deltas, other = widen((deltas, operand.other if operand.make is None else operand.make()))
    if operand.factor is not None:
        return _differentiate_factor(read, operand, deltas, other, layout, batch_size)
    if operand.convolution is not None:
        # A transposed one takes gradients to where the other takes inputs, and the other way.
        inputs, deltas = (deltas, other) if operand.is_transposed else (other, deltas)
        return _differentiate_kernel(read, operand.convolution, inputs, deltas, layout, batch_size)
    if operand.ends is not None:
        return _differentiate_stack(read, operand.ends, deltas, other, layout, batch_size)
    if read.kind in (LOOKED_UP, PICKED):
        rows = layout.arrange(deltas, batch_size).reshape(batch_size, -1, read.shape[1])
        indices = layout.arrange(other, batch_size).reshape(batch_size, -1)
        if read.kind == PICKED:
            return SparseRows(indices % read.shape[0], rows, read.shape)
        kept = (indices != read.node._saved_padding_idx).unsqueeze(2)
        return SparseRows(indices, rows * kept, read.shape)
    if operand.repeats is not None:
        return _differentiate_repetition(read, operand.repeats, deltas, layout, batch_size)
    if other is not None:
        deltas = deltas * other
    summed = layout.arrange(deltas, batch_size).sum(1)
    aligned = _align(read.shape, deltas.dim(), operand.channels)
    del aligned[layout.axis]
    repeated = [axis for axis, size in enumerate(aligned, 1) if size == 1]
    if repeated:
        summed = _sum_axes(summed, repeated)
    if operand.scale != 1:
        summed = summed * operand.scale
    return Dense(summed.reshape(batch_size, *read.shape), read.shape)


def _differentiate_channels(
    read: ParameterUse, operand: Operand, deltas: Tensor, layout: Layout, batch_size: int
) -> Contribution:
    """Return the gradients of one number for each channel, added up over space first."""
    add_up = operand.add_up or (lambda deltas: add_wide(deltas.flatten(2), 2))
    sums = add_up(deltas)
    if not layout.is_plain(len(sums), batch_size):
        sums = layout.arrange(sums, batch_size).sum(1)
    return Dense(sums.reshape(batch_size, *read.shape), read.shape)


def _differentiate_factor(
    read: ParameterUse,
    operand: Operand,
    deltas: Tensor,
    other: Tensor,
    layout: Layout,
    batch_size: int,
) -> Contribution:
    """Return the gradients of a factor of ``(..., R, K) @ (..., K, C)``."""
    if operand.factor == "left":
        deltas, other = deltas.mT, other.mT
    if deltas.dim() == 2:
        rows = replace(layout, axis=0)
        deltas, inputs = rows.arrange(deltas, batch_size), rows.arrange(other, batch_size)
        parts = (inputs, deltas) if operand.factor == "right" else (deltas, inputs)
        return Outer(*parts, read.shape)
    # Several products side by side, with the examples along the rows of each.
    rows = replace(layout, axis=1)
    deltas, inputs = rows.arrange(deltas, batch_size), rows.arrange(other, batch_size)
    parts = (inputs, deltas) if operand.factor == "right" else (deltas, inputs)
    return Dense(torch.einsum("btnr,btnc->bnrc", *parts), read.shape)


def _differentiate_stack(
    read: ParameterUse,
    ends: Tensor,
    deltas: Tensor,
    inputs: Tensor,
    layout: Layout,
    batch_size: int,
) -> Contribution:
    """Return the gradients of stacked matrices, each multiplied by its own rows."""
    places = torch.arange(len(deltas), device=deltas.device)
    matrices = torch.searchsorted(ends.to(places.dtype), places, right=True)
    # Rows behind the last matrix meet none.
    deltas = deltas * (matrices < len(ends)).unsqueeze(1)
    rows = layout.arrange(inputs, batch_size), layout.arrange(deltas, batch_size)
    matrices = layout.arrange(matrices.clamp_max(len(ends) - 1), batch_size)
    return StackedOuter(*rows, matrices, read.shape)


def _differentiate_kernel(
    read: ParameterUse,
    convolution: ConvolutionCall,
    inputs: Tensor,
    deltas: Tensor,
    layout: Layout,
    batch_size: int,
) -> Contribution:
    """Return the gradients of a convolution's kernel."""
    if layout.is_plain(len(deltas), batch_size):
        return Kernel(inputs, deltas, convolution, read.shape)
    deltas, inputs = layout.arrange(deltas, batch_size), layout.arrange(inputs, batch_size)
    total = sum(
        Kernel(inputs[:, row], deltas[:, row], convolution, read.shape).instantiate()
        for row in range(deltas.shape[1])
    )
    return Dense(torch.as_tensor(total), read.shape)


def _sum_axes(values: Tensor, axes: list[int]) -> Tensor:
    """Sum over some axes, long ones as exactly as short ones."""
    kept = [axis for axis in range(values.dim()) if axis not in axes]
    return add_wide(values.permute(*kept, *axes).flatten(len(kept)), len(kept))


def _differentiate_repetition(
    read: ParameterUse, repeats: tuple[int, ...], deltas: Tensor, layout: Layout, batch_size: int
) -> Contribution:
    """Return the gradients of what was laid side by side ``repeats`` times along each axis."""
    own = _align(read.shape, len(repeats))
    times = repeats[layout.axis]
    # Each copy must be of one example: whole copies lie together.
    if layout.owners is not None or layout.order != "examples" or times % batch_size:
        raise UnsupportedUseError("a copy of the parameter is not of one example")
    arranged = layout.arrange(deltas, batch_size)
    left = list(repeats)
    left[layout.axis] = times // batch_size
    shape = [size for pair in zip(left, own, strict=True) for size in pair]
    # (B, positions, others...) -> the axis of the examples where it was, within each example.
    arranged = arranged.movedim(1, 1 + layout.axis).reshape(batch_size, *shape)
    summed = arranged.sum(list(range(1, 2 * len(own), 2)))
    return Dense(summed.reshape(batch_size, *read.shape), read.shape)


def _align(shape: torch.Size, dim: int, channels: int | None = None) -> list[int]:
    """Return a shape with ones in front, as it is broadcast to ``dim`` axes."""
    if channels is not None:
        return [shape[0] if axis == channels else 1 for axis in range(dim)]
    return [1] * (dim - len(shape)) + list(shape)


def _read_addmm(node: Any, position: int) -> Operand:
    if position == 0:
        return Operand(scale=node._saved_beta)
    if node._saved_alpha != 1:
        raise UnsupportedUseError("a product with a factor")
    if position == 2:
        return Operand(node._saved_mat1, factor="right")
    return Operand(node._saved_mat2, factor="left")


def _read_product(node: Any, position: int) -> Operand:
    if position == 1:
        return Operand(node._saved_self, factor="right")
    return Operand(node._saved_mat2, factor="left")


def _read_add(node: Any, position: int) -> Operand:
    return Operand(scale=node._saved_alpha if position else 1)


def _read_subtract(node: Any, position: int) -> Operand:
    return Operand(scale=-node._saved_alpha if position else 1)


def _read_multiply(node: Any, position: int) -> Operand:
    return Operand(node._saved_self if position else node._saved_other)


def _read_divide(node: Any, position: int) -> Operand:
    divisor = node._saved_other.detach()
    if position == 0:
        return Operand(divisor.reciprocal())
    return Operand(-node._saved_self.detach() / divisor.square())


def _read_layer_norm(node: Any, position: int) -> Operand:
    inputs, mean, scale = node._saved_input, node._saved_result1, node._saved_result2
    return _scale_or_shift(position, lambda: (widen(inputs.detach()) - mean) * scale)


def _read_batch_norm(node: Any, position: int) -> Operand:
    if node._saved_training:
        raise UnsupportedUseError("BatchNorm in training mode mixes the examples of a batch")
    inputs, eps = node._saved_input, node._saved_eps
    mean, variance = node._saved_running_mean, node._saved_running_var

    def normalise() -> Tensor:
        return F.batch_norm(widen(inputs.detach()), widen(mean), widen(variance), eps=eps)

    def add_up(deltas: Tensor) -> Tensor:
        scale: Tensor = (widen(variance) + eps).rsqrt()
        return sum_centred(widen(inputs.detach()), deltas, widen(mean)) * scale

    return _scale_or_shift(position, normalise, add_up, channels=1)


def _read_group_norm(node: Any, position: int) -> Operand:
    inputs, groups = node._saved_input, node._saved_group
    mean, scale = node._saved_result1, node._saved_result2

    def normalise() -> Tensor:
        grouped = widen(inputs.detach()).reshape(len(inputs), groups, -1)
        normalised: Tensor = (grouped - mean.unsqueeze(2)) * scale.unsqueeze(2)
        return normalised.reshape(inputs.shape)

    def add_up(deltas: Tensor) -> Tensor:
        each = inputs.shape[1] // groups
        centres, scales = (item.repeat_interleave(each, 1) for item in (mean, scale))
        sums: Tensor = sum_centred(widen(inputs.detach()), deltas, centres) * scales
        return sums

    return _scale_or_shift(position, normalise, add_up, channels=1)


def _scale_or_shift(
    position: int,
    normalise: Callable[[], Tensor],
    add_up: Callable[[Tensor], Tensor] | None = None,
    channels: int | None = None,
) -> Operand:
    if position == 0:
        raise UnsupportedUseError("what is normalised is made of parameters")
    if position == 2:
        return Operand(channels=channels)
    return Operand(make=normalise, add_up=add_up, channels=channels)


def _read_convolution(node: Any, position: int) -> Operand:
    if position == 0:
        raise UnsupportedUseError("a convolution of parameters")
    if position == 2:
        return Operand(channels=1)
    call = ConvolutionCall(
        tuple(node._saved_weight.shape[2:]),
        tuple(node._saved_stride),
        tuple(node._saved_padding),
        tuple(node._saved_dilation),
        node._saved_groups,
    )
    return Operand(node._saved_input, convolution=call, is_transposed=node._saved_transposed)


def _read_grouped_product(node: Any, position: int) -> Operand:
    # Sizes, for the matrices themselves are not kept where the rows need no gradient.
    axes = len(node._saved_self_sym_sizes), len(node._saved_mat2_sym_sizes)
    ends = node._saved_offs
    if position != 1 or ends is None or axes != (2, 3):
        raise UnsupportedUseError("a grouped product whose matrices are not a stack of parameters")
    return Operand(node._saved_self, ends=ends)


def _read_picked(node: Any, position: int) -> Operand:
    indices = node._saved_indices
    is_table = len(node._saved_self_sym_sizes) == 2 and len(indices) == 1
    if not is_table or indices[0].dtype == torch.bool:
        raise UnsupportedUseError("numbers are picked from the parameter")
    return Operand(indices[0])


def _read_choice(node: Any, position: int) -> Operand:
    chosen = node._saved_condition
    return Operand(chosen.logical_not() if position else chosen)


OPERATIONS: dict[str, Callable[[Any, int], Operand]] = {
    "AddmmBackward0": _read_addmm,
    "MmBackward0": _read_product,
    "BmmBackward0": _read_product,
    "AddBackward0": _read_add,
    "SubBackward0": _read_subtract,
    "MulBackward0": _read_multiply,
    "DivBackward0": _read_divide,
    "ConvolutionBackward0": _read_convolution,
    "GroupedMmBackward0": _read_grouped_product,
    PICKED: _read_picked,
    "NativeBatchNormBackward0": _read_batch_norm,
    "NativeGroupNormBackward0": _read_group_norm,
    "NativeLayerNormBackward0": _read_layer_norm,
    "MaskedFillBackward0": lambda node, position: Operand(node._saved_mask.logical_not()),
    "WhereBackward0": _read_choice,
    LOOKED_UP: lambda node, position: Operand(node._saved_indices),
    EXPANDED: lambda node, position: Operand(),
    REPEATED: lambda node, position: Operand(repeats=tuple(node._saved_repeats)),
}
