"""The network EfficientNet-Lite0, built for its features alone. Imports torch.

EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946v5, Table 1) as its authors changed it for mobile
processors: no squeeze-and-excitation, ReLU6 in place of swish, stem and head of a fixed width.
Batch normalisation is folded into the convolutions, which changes no more than rounding does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracin_core.errors import CheckpointError

STEM, HEAD, CLASSES = 32, 1280, 1000  # channels
# TensorFlow's, with which the weights were trained.
EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Attributes:
        kernel: Side of the depthwise convolution.
        stride: Of the first block.
        expansion: How much wider a block is inside.
        channels: Width of the result.
        repeats: Number of blocks.
    """

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


@dataclass(frozen=True)
class _Block:
    """One inverted residual block: where its weights are called ``_blocks.<number>``."""

    number: int
    kernel: int
    stride: int
    inputs: int
    inside: int
    outputs: int

    @property
    def name(self) -> str:
        return f"_blocks.{self.number}"

    @property
    def expands(self) -> bool:
        return self.inside != self.inputs


def _list_blocks() -> Iterator[_Block]:
    inputs, number = STEM, 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            inside = inputs * stage.expansion
            yield _Block(number, stage.kernel, stride, inputs, inside, stage.channels)
            inputs, number = stage.channels, number + 1


class _Convolution(nn.Module):
    """A convolution with its normalisation folded in, padded as TensorFlow's "same"."""

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int, groups: int, relu: bool):
        super().__init__()
        outputs, inputs, kernel, _ = weight.shape
        # One side of an even input is padded more with a stride of two; else both are alike.
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(
            inputs * groups, outputs, kernel, stride, padding=padding, groups=groups
        )
        self.convolution.weight = nn.Parameter(weight, requires_grad=False)
        self.convolution.bias = nn.Parameter(bias, requires_grad=False)
        self.kernel, self.stride, self.relu = kernel, stride, relu

    def forward(self, images: Tensor) -> Tensor:
        if self.stride > 1:
            left, right = _pad_same(images.shape[3], self.kernel, self.stride)
            top, bottom = _pad_same(images.shape[2], self.kernel, self.stride)
            images = F.pad(images, (left, right, top, bottom))
        result: Tensor = self.convolution(images)
        return F.relu6(result, inplace=True) if self.relu else result


def _pad_same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after a side so that the output has ceil(size / stride)."""
    whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return whole // 2, whole - whole // 2


class _Residual(nn.Module):
    """A block whose result is added to its input."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(images)
        return result.add_(images)


class _Pool(nn.Module):
    """The mean over all places: from ``(B, D, H, W)`` to ``(B, D)``."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def build_lite0(state: Mapping[str, Tensor]) -> nn.Module:
    """Return the network from pixels to pooled features, in evaluation mode.

    Args:
        state: The published weights by name, those of the 1,000 outputs included.

    Returns:
        A module from ``(B, 3, H, W)``, pixels scaled by (p - 127) / 128, to ``(B, 1280)``.

    Raises:
        CheckpointError: If a tensor is missing or has another shape: the weights are of another
            network.
    """
    shapes = dict(_list_shapes())
    for name, shape in shapes.items():
        found = tuple(state[name].shape) if name in state else None
        if found != shape:
            raise CheckpointError(
                f"Found {'no tensor' if found is None else f'a tensor of the shape {found}'} for "
                f"{name}, expected the shape {shape}. Give the weights of EfficientNet-Lite0."
            )
    convolve = _Folder(state)
    layers: list[nn.Module] = [convolve("_conv_stem", "_bn0", stride=2)]
    for block in _list_blocks():
        name = block.name
        steps = [convolve(f"{name}._expand_conv", f"{name}._bn0")] if block.expands else []
        steps += [
            convolve(
                f"{name}._depthwise_conv", f"{name}._bn1", stride=block.stride, groups=block.inside
            ),
            convolve(f"{name}._project_conv", f"{name}._bn2", relu=False),
        ]
        whole = nn.Sequential(*steps)
        keeps_shape = block.stride == 1 and block.inputs == block.outputs
        layers.append(_Residual(whole) if keeps_shape else whole)
    return nn.Sequential(*layers, convolve("_conv_head", "_bn1"), _Pool()).eval()


def _list_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of every tensor that a file of the weights must have."""
    yield from _of_layer("_conv_stem", "_bn0", (STEM, 3, 3, 3))
    for block in _list_blocks():
        name, inside = block.name, block.inside
        if block.expands:
            yield from _of_layer(
                f"{name}._expand_conv", f"{name}._bn0", (inside, block.inputs, 1, 1)
            )
        depthwise = (inside, 1, block.kernel, block.kernel)
        yield from _of_layer(f"{name}._depthwise_conv", f"{name}._bn1", depthwise)
        yield from _of_layer(f"{name}._project_conv", f"{name}._bn2", (block.outputs, inside, 1, 1))
    yield from _of_layer("_conv_head", "_bn1", (HEAD, STAGES[-1].channels, 1, 1))
    yield "_fc.weight", (CLASSES, HEAD)


def _of_layer(
    convolution: str, norm: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{convolution}.weight", shape
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"{norm}.{name}", shape[:1]


class _Folder:
    """Makes convolutions of the weights by their names."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state

    def __call__(
        self, name: str, norm: str, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> nn.Module:
        """Return a convolution with the normalisation after it folded in."""
        weight, bias = torch.nn.utils.fusion.fuse_conv_bn_weights(
            self._state[f"{name}.weight"],
            None,
            self._state[f"{norm}.running_mean"],
            self._state[f"{norm}.running_var"],
            EPSILON,
            self._state[f"{norm}.weight"],
            self._state[f"{norm}.bias"],
        )
        return _Convolution(weight.detach(), bias.detach(), stride=stride, groups=groups, relu=relu)
