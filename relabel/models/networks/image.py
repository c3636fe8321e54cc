"""What the built-in networks for images are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from relabel.features.image import ImageEncoder
from relabel.models.registry import (
    NetworkRequest,
    TrainingSuggestion,
    choose_hidden,
    register_network,
    require_at_least,
)
from tracin_core.errors import ConfigurationError

# Sides of the input in pixels for resnet18, from scratch and with weights that were made for
# 224: the size of features matters more to them than the number of pixels.
RESNET_SIDE, PUBLISHED_SIDE = 128, 224
COLOURS = 3
# Four pixels of 32, as He et al. 2016 (arXiv:1512.03385, Sec. 4.2) crop CIFAR's images.
SHIFT = 0.125
MORE_FILTERS = (32, 64)
OF_STILL = TrainingSuggestion(epochs=12, learning_rate=0.05)
OF_MOVED = TrainingSuggestion(epochs=16, learning_rate=0.05, weight_decay=5e-4)


@register_network(
    title="Small convolutional network",
    description="Two convolutions and a hidden layer. Learns thousands of small images in a "
    "minute or two on a processor.",
    kinds=("image",),
    build="relabel.models.build:make_small_cnn",
    training=OF_STILL,
    is_suggested=True,
)
@dataclass(frozen=True, kw_only=True)
class SmallCNNConfig:
    """Two convolutions, a hidden layer and the outputs, for small images.

    Attributes:
        height: Pixels of the input, at least 4 (it is halved twice).
        width: The same.
        channels: Input channels.
        num_outputs: Logits ``K``, or 1 for regression.
        filters: Output channels of the two convolutions.
        hidden: Width of the hidden layer.
        seed: Chooses the initial weights.
        shift: Share of the side by which the images of a step are moved at most, up, down, left
            and right, what comes in from outside being reflected; and half of them are mirrored.
            0 leaves them as they are.
    """

    name: ClassVar[str] = "small_cnn"

    height: int
    width: int
    channels: int
    num_outputs: int
    filters: tuple[int, int] = (16, 32)
    hidden: int = 64
    seed: int = 0
    shift: float = 0.0

    def __post_init__(self) -> None:
        require_at_least(
            self, {"height": 4, "width": 4, "channels": 1, "num_outputs": 1, "hidden": 1}
        )
        if not 0 <= self.shift < 1:
            raise ConfigurationError(
                f"Found shift {self.shift} for the {self.name} network, expected a share from 0 "
                "to below 1. Correct it in the model's settings."
            )
        if len(self.filters) != 2 or min(self.filters) < 1:
            raise ConfigurationError(
                f"Found filters {self.filters}, expected two positive numbers. "
                "Pass the output channels of both convolutions, for example (16, 32)."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        saved = {"name": self.name, **asdict(self), "filters": list(self.filters)}
        if not self.shift:  # runs from before there was one keep their names
            del saved["shift"]
        return saved

    @classmethod
    def for_encoder(cls, encoder: ImageEncoder, request: NetworkRequest) -> SmallCNNConfig:
        """Return the configuration for images as an encoder makes them.

        Images in colour are taken for pictures of things, which stay what they are when they are
        moved a little or mirrored. Grey ones are as often digits, letters and scans, of which a
        mirrored one is another thing or none at all.
        """
        in_colour = encoder.channels == COLOURS
        return cls(
            height=encoder.height,
            width=encoder.width,
            channels=encoder.channels,
            num_outputs=request.num_outputs,
            seed=request.seed,
            hidden=choose_hidden(request.num_outputs),
            filters=MORE_FILTERS if in_colour else cls.filters,
            shift=SHIFT if in_colour else 0.0,
        )

    @property
    def training(self) -> TrainingSuggestion:
        """Return the options that train it: with moved images for longer, held by a penalty."""
        return OF_MOVED if self.shift else OF_STILL


# Residual networks need smaller steps than the plain ones; resnet18 has parameters enough to learn
# wrong labels by heart in a few passes, which weight decay puts off.
@register_network(
    title="ResNet-18",
    description="Eleven million weights, for larger and richer images. Slow without a GPU; it "
    "can begin with weights from a file.",
    kinds=("image",),
    build="relabel.models.build:make_resnet18",
    training=TrainingSuggestion(epochs=12, learning_rate=0.05, weight_decay=5e-4, is_large=True),
    largest_side=RESNET_SIDE,
    weights_side=PUBLISHED_SIDE,
    load_weights="relabel.models.build:load_initial_weights",
)
@dataclass(frozen=True, kw_only=True)
class ResNet18Config:
    """torchvision's residual network with 18 layers (He et al. 2016, arXiv:1512.03385).

    Attributes:
        height: Pixels of the input; up to 64 the first layers keep the size.
        width: The same.
        channels: Input channels; 3 where weights are given.
        num_outputs: Logits ``K``, or 1 for regression.
        weights: Local file with a state dict to begin with, as torchvision publishes them; the
            last layer may be of another size and begins anew then. None begins from scratch.
        weights_sha256: Digest of that file.
        seed: Chooses the other initial weights.
    """

    name: ClassVar[str] = "resnet18"

    height: int
    width: int
    channels: int
    num_outputs: int
    weights: str | None = None
    weights_sha256: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(self, {"height": 8, "width": 8, "channels": 1, "num_outputs": 1})
        if self.weights is not None and self.channels != 3:
            raise ConfigurationError(
                f"Found resnet18 with weights to begin with and {self.channels} input channels, "
                "expected 3, which they were made for. Leave the weights out for grey images."
            )

    @property
    def has_small_stem(self) -> bool:
        """Return whether the first layers keep the input's size.

        Of an image of 64 pixels the usual ones leave 2 x 2 at the end. Published weights are
        made for the usual ones.
        """
        return self.weights is None and max(self.height, self.width) <= 64

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def for_encoder(cls, encoder: ImageEncoder, request: NetworkRequest) -> ResNet18Config:
        """Return the configuration for images as an encoder makes them."""
        return cls(
            height=encoder.height,
            width=encoder.width,
            channels=encoder.channels,
            num_outputs=request.num_outputs,
            seed=request.seed,
            weights=request.weights,
            weights_sha256=request.weights_sha256,
        )
