"""What has a way of its own in single precision gives what double precision gives."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tracin_core.gradients.normalized import sum_centred
from tracin_core.gradients.rules.conv import Kernel

# Of the largest number; single precision rounds to 6e-8.
ROUNDING = 2e-6

DEPTHWISE = {
    "strides": (nn.Conv2d(16, 16, 3, 2, 1, groups=16), (5, 16, 11, 9)),
    "large kernel": (nn.Conv2d(3, 3, 7, padding=3, groups=3), (2, 3, 40, 40)),
    "padding to the same size": (
        nn.Conv2d(6, 6, 4, padding="same", dilation=2, groups=6),
        (4, 6, 9, 9),
    ),
    "padding around": (
        nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular", groups=6),
        (4, 6, 9, 9),
    ),
    "over time": (nn.Conv1d(8, 8, 4, stride=3, padding=2, groups=8), (4, 8, 50)),
    "volumes": (nn.Conv3d(4, 4, 3, padding=1, groups=4), (3, 4, 5, 6, 7)),
}


@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_kernels_need_no_patches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, shape = copy.deepcopy(DEPTHWISE[name][0]), DEPTHWISE[name][1]
    inputs = torch.randn(shape) + 1
    deltas = torch.randn_like(layer(inputs))
    single = Kernel(inputs, deltas, layer, layer.weight.shape)
    expected = replace(single, inputs=inputs.double(), deltas=deltas.double()).instantiate()
    monkeypatch.setattr(Kernel, "_factors", None)
    found = single.instantiate()
    assert found.shape == (shape[0], *layer.weight.shape)
    largest = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=ROUNDING * largest)


def test_channels_last_images_are_no_other_images() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, groups=8)
    inputs = torch.randn(3, 8, 6, 6)
    deltas = torch.randn_like(layer(inputs))
    plain = Kernel(inputs, deltas, layer, layer.weight.shape)
    turned = [tensor.contiguous(memory_format=torch.channels_last) for tensor in (inputs, deltas)]
    other = replace(plain, inputs=turned[0], deltas=turned[1])
    torch.testing.assert_close(other.instantiate(), plain.instantiate())


# One number, a prime, more than are added up at a time: in equal runs, and of prime length.
@pytest.mark.parametrize("space", [(1,), (37,), (48, 48), (37, 37), (1031,), (0,)])
@pytest.mark.parametrize("is_own", [False, True])
def test_sums_around_a_centre(space: tuple[int, ...], is_own: bool) -> None:
    torch.manual_seed(0)
    inputs, deltas = torch.randn(3, 4, *space) + 2, torch.randn(3, 4, *space)
    centres = torch.randn(3, 4) if is_own else torch.randn(4)
    found = sum_centred(inputs, deltas, centres)
    rows = centres.double().reshape(-1, 4, 1)
    products = (inputs.double().flatten(2) - rows) * deltas.double().flatten(2)
    torch.testing.assert_close(found.double(), products.sum(2), rtol=0, atol=1e-4)


def test_long_sums_lose_nothing() -> None:
    # 112 x 112 equal numbers, of which one number after the other loses a thousandth.
    inputs, deltas = torch.full((1, 2, 112, 112), 1.1), torch.full((1, 2, 112, 112), 0.3)
    found = sum_centred(inputs, deltas, torch.zeros(2))
    expected = 112 * 112 * inputs[0, 0, 0, 0].double() * deltas[0, 0, 0, 0].double()
    torch.testing.assert_close(found.double(), expected.expand(1, 2), rtol=ROUNDING, atol=0)
