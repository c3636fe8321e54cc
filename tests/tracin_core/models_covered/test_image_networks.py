"""Image networks as they are used: complete coverage, gradients as of one example at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from tests.tracin_core.models_covered.comparison import assert_covered, label, shake

# Channels that meet only at the network's full width make these two take seconds.
WIDE: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=3),
    "mobilenet v3 small": lambda: torchvision.models.mobilenet_v3_small(num_classes=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_convolutional_networks_are_exact_by_rules_alone(name: str) -> None:
    model = shake(WIDE[name](), scale=0.01).train()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    coverage = assert_covered(model, label(images))
    assert {entry.method for entry in coverage} == {"rule"}


def test_a_narrow_residual_network_is_exact_by_rules_alone() -> None:
    block = torchvision.models.resnet.BasicBlock
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        block(4, 4),
        block(4, 6, stride=2, downsample=nn.Sequential(nn.Conv2d(4, 6, 1, 2), nn.BatchNorm2d(6))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    coverage = assert_covered(shake(layers), label(images))
    assert {entry.method for entry in coverage} == {"rule"}


def test_a_vision_transformer_is_exact_by_rules_alone() -> None:
    model = torchvision.models.VisionTransformer(
        image_size=16,
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        num_classes=3,
    )
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    coverage = assert_covered(shake(model), label(images))
    assert {entry.method for entry in coverage} == {"rule"}
    assert coverage["class_token"].reason == "read by Expand"
