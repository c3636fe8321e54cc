"""Per-example gradients of convolutions in one, two and three dimensions.

The gradient of an example's kernel is one matrix product between the gradients at its outputs
and the patches that produced them. Stride, dilation, groups and every padding mode only change
how the patches are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracin_core.gradients.factored import (
    Contribution,
    Dense,
    Outer,
    choose_chunks,
    compute_squared_norms,
    split,
)
from tracin_core.gradients.precision import add_wide, match_dtype, multiply_wide
from tracin_core.gradients.rules.registry import UnsupportedUseError, gradient_rule

if TYPE_CHECKING:
    from tracin_core.projection.sketch import Sketch


@dataclass(frozen=True)
class ConvolutionCall:
    """How a convolution was called, wherever that was; the names are those of ``nn.Conv2d``."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str = "zeros"

    @property
    def _reversed_padding_repeated_twice(self) -> list[int]:
        return [number for number in reversed(self.padding) for _ in range(2)]


Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
AnyConvolution = Convolution | Transposed | ConvolutionCall


@dataclass(frozen=True)
class Kernel(Contribution):
    """A convolution kernel's gradients, not yet computed.

    Attributes:
        inputs: Shape ``(B, channels, *space)``; padded a few examples at a time.
        deltas: Gradients at the outputs, shape ``(B, O, *output_space)``.
        layer: The convolution, for its stride, dilation, groups and padding.
        shape: Shape of the kernel, ``(O, channels / groups, *kernel)``.
    """

    inputs: Tensor
    deltas: Tensor
    layer: AnyConvolution
    shape: torch.Size

    @property
    def is_factored(self) -> bool:
        """Whether ``L x L`` Gram matrices of L positions need less work than the kernel."""
        rows, columns = self._matrix
        return self._positions * (rows + columns) < rows * columns

    @property
    def outer_sizes(self) -> tuple[int, int, int] | None:
        """Positions, rows and columns of the kernel's gradient, where there is one group."""
        return (self._positions, *self._matrix) if self.layer.groups == 1 else None

    def as_outer(self) -> Outer:
        """Return all patches as the second factor."""
        factors = [(deltas.mT, patches.mT) for deltas, patches in self._factors()]
        if len(factors) == 1:
            return Outer(*factors[0], self.shape)
        deltas, patches = (torch.cat(parts) for parts in zip(*factors, strict=True))
        return Outer(deltas, patches, self.shape)

    @property
    def _matrix(self) -> tuple[int, int]:
        """Shape of one group's kernel as a matrix."""
        return self.shape[0] // self.layer.groups, self.shape[1:].numel()

    @property
    def _positions(self) -> int:
        return self.deltas.shape[2:].numel()

    def narrow(self, start: int, stop: int) -> Kernel:
        """Return the same for the examples ``start`` to ``stop``."""
        return Kernel(self.inputs[start:stop], self.deltas[start:stop], self.layer, self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, *shape)``."""
        if self._is_depthwise:
            return self._differentiate_apart()
        kernels = [multiply_wide(deltas, patches.mT) for deltas, patches in self._factors()]
        whole = kernels[0] if len(kernels) == 1 else torch.cat(kernels)
        return whole.reshape(self.batch_size, *self.shape)

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        if self.layer.groups > 1 or not sketch.prefers_transform(name, self._positions):
            super().add_to_sketch(sketch, name)
            return
        first = 0
        for deltas, patches in self._factors():
            sketch.add_outer(name, deltas.mT, patches.mT, first)
            first += len(deltas)

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``, the cheaper way."""
        if self._is_depthwise and not self.is_factored:
            return super().squared_norms()
        parts = [self] if self.is_factored else cast(Iterator[Kernel], split(self))
        norms = [
            self._measure(deltas, patches)
            for part in parts
            for deltas, patches in part._factors(in_order=False)
        ]
        return torch.cat(norms).reshape(self.batch_size, -1).sum(1)

    @property
    def _is_depthwise(self) -> bool:
        """Whether torch's kernels for one channel a group take each example for channels more."""
        return (
            self.layer.groups == self.shape[0] > 1
            and self.shape[1] == 1
            and self.deltas.dtype == self.inputs.dtype == torch.float32
            and self.device.type == "cpu"
            and not isinstance(self.layer, Transposed)
        )

    def _differentiate_apart(self) -> Tensor:
        """Return the gradients of a convolution of all examples' channels, each its own group.

        No patches are cut out: of 3 x 3 kernels that took three to nine times as long, of 7 x 7
        half as long again.
        """
        inputs, padding = self.inputs, self.layer.padding
        if self.layer.padding_mode != "zeros" or isinstance(padding, str):
            inputs, padding = pad_inputs(self.layer, inputs), (0,) * (self.deltas.dim() - 2)
        groups = self.batch_size * self.layer.groups
        found = torch.ops.aten.convolution_backward(
            self.deltas.reshape(1, groups, *self.deltas.shape[2:]),
            inputs.reshape(1, groups, *inputs.shape[2:]),
            self.deltas.new_empty(groups, *self.shape[1:]),
            None,
            self.layer.stride,
            padding,
            self.layer.dilation,
            False,
            (0,) * len(padding),
            groups,
            (False, True, False),
        )
        kernels: Tensor = found[1].reshape(self.batch_size, *self.shape)
        return kernels

    def _measure(self, deltas: Tensor, patches: Tensor) -> Tensor:
        """Return the squared norms of ``deltas patches^T``, whose columns may be in any order."""
        if not self.is_factored:
            return compute_squared_norms(multiply_wide(deltas, patches.mT))
        products = multiply_wide(deltas.mT, deltas) * multiply_wide(patches.mT, patches)
        # Rounding can make a Gram product negative, which a squared norm is not.
        return products.sum((1, 2)).clamp_min(0)

    def _factors(self, *, in_order: bool = True) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``(b * groups, O / groups, L)`` and ``(b * groups, K, L)`` for a few examples.

        Args:
            in_order: Whether the K numbers of a patch have to be in the kernel's order. Where
                channels lie last, patches with the channels last are cut in longer pieces.
        """
        rows, columns = self._matrix
        positions = self._positions
        most = choose_chunks(self.device).patches
        step = max(1, most // max(1, self.layer.groups * columns * positions))
        for start in range(0, self.batch_size, step):
            part = self.narrow(start, start + step)
            inputs, output_space = pad_inputs(self.layer, part.inputs), part.deltas.shape[2:]
            deltas = part.deltas.reshape(-1, rows, positions)
            if self.layer.groups == 1 and not in_order and has_channels_last(inputs):
                patches = cut_patches(self.layer, inputs, output_space)
                space = len(output_space)
                last = [0, *range(2 + space, 2 + 2 * space), *range(2, 2 + space), 1]
                yield deltas, patches.permute(last).reshape(-1, positions, columns).mT
                continue
            # Cut from channels that lie apart, a patch's numbers would be picked one by one.
            patches = cut_patches(self.layer, inputs.contiguous(), output_space)
            yield deltas, patches.reshape(-1, columns, positions)


def has_channels_last(inputs: Tensor) -> bool:
    """Return whether pictures ``(B, channels, *space)`` are laid out with their channels last."""
    return (
        inputs.dim() == 4
        and inputs.shape[1] > 1
        and inputs.is_contiguous(memory_format=torch.channels_last)
    )


def pad_inputs(layer: AnyConvolution, inputs: Tensor) -> Tensor:
    """Return inputs ``(B, channels, *space)`` as the layer pads them."""
    padding = layer._reversed_padding_repeated_twice
    if not any(padding):
        return inputs
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, padding, mode=mode)


def cut_patches(layer: AnyConvolution, inputs: Tensor, output_space: torch.Size) -> Tensor:
    """Return a view of every patch the kernel saw.

    Args:
        layer: The convolution.
        inputs: Padded inputs, shape ``(B, channels, *space)``.
        output_space: Spatial shape of the outputs.

    Returns:
        Shape ``(B, channels, *kernel, *output_space)``, sharing memory with ``inputs``.
    """
    strides = inputs.stride()
    kernel_strides = [s * d for s, d in zip(strides[2:], layer.dilation, strict=True)]
    output_strides = [s * d for s, d in zip(strides[2:], layer.stride, strict=True)]
    return inputs.as_strided(
        (*inputs.shape[:2], *layer.kernel_size, *output_space),
        (*strides[:2], *kernel_strides, *output_strides),
    )


@gradient_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d, takes_half=True)
def convolution_gradients(
    layer: Convolution, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of a convolution's kernel and bias.

    Args:
        layer: The convolution.
        arguments: The input, shape ``(B, channels, *space)``.
        output_gradients: Shape ``(B, O, *output_space)``.

    Returns:
        ``weight``, computed when asked for, and ``bias``, shape ``(B, O)``.

    Raises:
        UnsupportedUseError: If the input has no batch axis.
    """
    inputs = match_dtype(arguments[0], output_gradients)
    if inputs.dim() != len(layer.kernel_size) + 2:
        raise UnsupportedUseError("a convolution of an input without a batch axis")
    kernel = Kernel(inputs, output_gradients, layer, layer.weight.shape)
    gradients: dict[str, Contribution] = {"weight": kernel}
    if layer.bias is not None:
        bias = add_wide(output_gradients.flatten(2), 2)
        gradients["bias"] = Dense(bias, layer.bias.shape)
    return gradients


@gradient_rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, takes_half=True)
def transposed_convolution_gradients(
    layer: Transposed, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of a transposed convolution's kernel and bias.

    It takes its inputs to where a convolution of the same kernel takes gradients back to, so the
    two change places: patches are cut from the gradients at the outputs.

    Args:
        layer: The transposed convolution.
        arguments: The input, shape ``(B, channels, *space)``.
        output_gradients: Shape ``(B, O, *output_space)``.

    Returns:
        ``weight``, computed when asked for, and ``bias``, shape ``(B, O)``.

    Raises:
        UnsupportedUseError: If the input has no batch axis.
    """
    inputs = match_dtype(arguments[0], output_gradients)
    if inputs.dim() != len(layer.kernel_size) + 2:
        raise UnsupportedUseError("a convolution of an input without a batch axis")
    gradients: dict[str, Contribution] = {
        "weight": Kernel(output_gradients, inputs, layer, layer.weight.shape)
    }
    if layer.bias is not None:
        bias = add_wide(output_gradients.flatten(2), 2)
        gradients["bias"] = Dense(bias, layer.bias.shape)
    return gradients
