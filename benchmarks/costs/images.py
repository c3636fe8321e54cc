"""Image networks of torchvision and timm, and what people write beside them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from benchmarks.costs.subject import CLASSES, Costed, register


class Steep(nn.Sequential):
    """A small CNN whose activations have slopes of their own."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
            layers += [nn.PReLU(after), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(128 * 16, CLASSES))


class UNet(nn.Module):
    """Two steps down, two up by ConvTranspose2d, skips, and the mean of each map of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            _double(before, after) for before, after in ((3, 32), (32, 64), (64, 128))
        )
        self.up_second = nn.ConvTranspose2d(128, 64, 2, stride=2)
        self.up_first = nn.ConvTranspose2d(64, 32, 2, stride=2)
        self.back_second, self.back_first = _double(128, 64), _double(64, 32)
        self.head = nn.Conv2d(32, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of images ``(B, 3, H, W)``."""
        first = self.first(images)
        second = self.second(nn.functional.max_pool2d(first, 2))
        third = self.third(nn.functional.max_pool2d(second, 2))
        second = self.back_second(torch.cat([self.up_second(third), second], 1))
        first = self.back_first(torch.cat([self.up_first(second), first], 1))
        return self.head(first).mean((2, 3))


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _synchronised() -> nn.Module:
    return nn.SyncBatchNorm.convert_sync_batchnorm(models.resnet18(num_classes=CLASSES))


# How to make it, the side of the images, how many examples, in what batches.
_NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int, int]] = {
    "CNN with PReLU": (Steep, 32, 128, 32),
    "U-Net with ConvTranspose2d": (UNet, 32, 64, 16),
    "ResNet-18": (partial(models.resnet18, num_classes=CLASSES), 64, 64, 16),
    "ResNet-18 with SyncBatchNorm": (_synchronised, 64, 64, 16),
    "DenseNet-121": (partial(models.densenet121, num_classes=CLASSES), 64, 32, 16),
    "EfficientNet-B0": (partial(models.efficientnet_b0, num_classes=CLASSES), 96, 32, 16),
    "MobileNetV3 large": (partial(models.mobilenet_v3_large, num_classes=CLASSES), 96, 64, 16),
    "ConvNeXt tiny": (partial(models.convnext_tiny, num_classes=CLASSES), 96, 16, 8),
    "Swin tiny": (partial(models.swin_t, num_classes=CLASSES), 224, 8, 4),
    "Swin V2 tiny": (partial(models.swin_v2_t, num_classes=CLASSES), 256, 8, 4),
    "MaxViT tiny": (
        partial(
            models.MaxVit,
            (112, 112),
            32,
            7,
            [32, 64, 128],
            [1, 1, 2],
            32,
            0.0,
            num_classes=CLASSES,
        ),
        112,
        16,
        8,
    ),
}

# The side of the images, how many examples, in what batches, and options.
_OF_TIMM: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (224, 16, 8, {}),
    "deit3_small_patch16_224": (224, 8, 4, {}),
    "convnext_atto": (224, 16, 8, {}),
    "nf_resnet26": (96, 16, 8, {}),
    "resnet26d": (96, 32, 16, {}),
    "mobilenetv4_conv_small": (160, 32, 16, {}),
    "beitv2_base_patch16_224": (96, 8, 4, {"img_size": 96, "embed_dim": 384, "num_heads": 6}),
}


def _show(make: Callable[[], nn.Module], side: int, examples: int, batch: int) -> Costed:
    return Costed(make().eval(), (torch.randn(examples, 3, side, side),), batch)


def _make_of_timm(name: str, options: dict[str, Any]) -> nn.Module:
    import timm

    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
    return made


for _name, _network in _NETWORKS.items():
    _source = "torch" if _network[0] in (Steep, UNet) else "torchvision"
    register(_source, _name, partial(_show, *_network))
if importlib.util.find_spec("timm"):
    for _name, (_side, _examples, _batch, _options) in _OF_TIMM.items():
        _make = partial(_make_of_timm, _name, _options)
        register("timm", _name, partial(_show, _make, _side, _examples, _batch))
