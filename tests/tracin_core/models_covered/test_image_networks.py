"""Image networks as they are used: complete coverage, gradients as of one example at a time."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn

from tests.tracin_core.models_covered.comparison import assert_covered, label, shake


@pytest.fixture(scope="module")
def models() -> ModuleType:
    """The networks of torchvision, whose import loads torch's compiler, too, for seconds."""
    import torchvision

    return torchvision.models


# Channels that meet only at the network's full width make these two take seconds.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_convolutional_networks_are_exact_by_rules_alone(models: ModuleType, name: str) -> None:
    model = shake(getattr(models, name)(num_classes=3), scale=0.01).train()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    coverage = assert_covered(model, label(images))
    assert {entry.method for entry in coverage} == {"rule"}


def test_a_narrow_residual_network_is_exact_by_rules_alone(models: ModuleType) -> None:
    block = models.resnet.BasicBlock
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


def test_a_vision_transformer_is_exact_by_rules_alone(models: ModuleType) -> None:
    model = models.VisionTransformer(
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
