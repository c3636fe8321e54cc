"""Torchvision's classifiers, those of many parameters with fewer blocks by their own options."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision import models

from benchmarks.published.subject import CLASSES, Subject, images, register

ConvNeXtBlock = models.convnext.CNBlockConfig

# By name: how to build it, its head, and the side of its images.
_MODELS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "SqueezeNet 1.1": (partial(models.squeezenet1_1, num_classes=CLASSES), "classifier.1", 48),
    "ResNet-18": (partial(models.resnet18, num_classes=CLASSES), "fc", 32),
    "ResNeXt": (
        partial(
            models.ResNet,
            models.resnet.Bottleneck,
            [1, 1, 1, 1],
            num_classes=CLASSES,
            groups=8,
            width_per_group=4,
        ),
        "fc",
        48,
    ),
    "DenseNet": (
        partial(models.DenseNet, 8, (2, 3, 2), 16, num_classes=CLASSES),
        "classifier",
        48,
    ),
    "DenseNet, memory_efficient": (
        partial(models.DenseNet, 8, (2, 3, 2), 16, num_classes=CLASSES, memory_efficient=True),
        "classifier",
        48,
    ),
    "MobileNetV2": (
        partial(models.mobilenet_v2, num_classes=CLASSES, width_mult=0.5),
        "classifier.1",
        48,
    ),
    "MobileNetV3 small": (
        partial(models.mobilenet_v3_small, num_classes=CLASSES),
        "classifier.3",
        48,
    ),
    "MNASNet 0.5": (partial(models.mnasnet0_5, num_classes=CLASSES), "classifier.1", 48),
    "ShuffleNetV2 0.5": (partial(models.shufflenet_v2_x0_5, num_classes=CLASSES), "fc", 32),
    "EfficientNet-B0": (partial(models.efficientnet_b0, num_classes=CLASSES), "classifier.1", 32),
    "RegNetX 400MF": (partial(models.regnet_x_400mf, num_classes=CLASSES), "fc", 32),
    "RegNetY 400MF": (partial(models.regnet_y_400mf, num_classes=CLASSES), "fc", 32),
    "GoogLeNet": (
        partial(models.googlenet, num_classes=CLASSES, init_weights=False, aux_logits=True),
        "fc",
        64,
    ),
    "Inception v3": (
        partial(models.inception_v3, num_classes=CLASSES, init_weights=False, aux_logits=False),
        "fc",
        75,
    ),
    "ConvNeXt": (
        lambda: models.ConvNeXt(
            [ConvNeXtBlock(16, 32, 2), ConvNeXtBlock(32, 64, 2), ConvNeXtBlock(64, None, 1)],
            num_classes=CLASSES,
        ),
        "classifier.2",
        48,
    ),
    "VisionTransformer": (
        partial(
            models.VisionTransformer,
            image_size=32,
            patch_size=8,
            num_layers=3,
            num_heads=4,
            hidden_dim=48,
            mlp_dim=96,
            num_classes=CLASSES,
        ),
        "heads.head",
        32,
    ),
    "Swin Transformer": (
        partial(
            models.SwinTransformer,
            [2, 2],
            24,
            [2, 2, 2],
            [2, 4, 4],
            [4, 4],
            num_classes=CLASSES,
        ),
        "head",
        32,
    ),
    "Swin Transformer V2": (
        partial(
            models.SwinTransformer,
            [2, 2],
            24,
            [2, 2],
            [2, 4],
            [4, 4],
            num_classes=CLASSES,
            block=models.swin_transformer.SwinTransformerBlockV2,
            downsample_layer=models.swin_transformer.PatchMergingV2,
        ),
        "head",
        32,
    ),
    "MaxViT": (
        partial(
            models.MaxVit,
            input_size=(32, 32),
            stem_channels=16,
            partition_size=4,
            block_channels=[16, 32],
            block_layers=[1, 1],
            head_dim=8,
            stochastic_depth_prob=0.1,
            num_classes=CLASSES,
        ),
        "classifier.5",
        32,
    ),
}


def _build(name: str) -> Subject:
    make, head, side = _MODELS[name]
    return images(make(), head, side)


for _name in _MODELS:
    register("torchvision", _name, partial(_build, _name))
