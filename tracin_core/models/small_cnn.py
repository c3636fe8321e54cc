"""A convolutional network for small images."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from tracin_core.models.image_configs import SmallCNNConfig


def make_small_cnn(config: SmallCNNConfig) -> nn.Module:
    """Return a network from ``(B, channels, height, width)`` to logits ``(B, K)``.

    No dropout and no batch normalisation: the gradient of one example must not depend on chance
    or on its neighbours in the batch.
    """
    first, second = config.filters
    pixels = (config.height // 4) * (config.width // 4)
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(config.channels, first, kernel_size=3, padding=1)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(first, second, kernel_size=3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("hidden", nn.Linear(second * pixels, config.hidden)),
        ("relu3", nn.ReLU()),
        ("logits", nn.Linear(config.hidden, config.num_outputs)),
    ]
    return nn.Sequential(OrderedDict(layers))
