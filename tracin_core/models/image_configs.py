"""What the built-in networks for images are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from tracin_core.errors import ConfigurationError
from tracin_core.models.checks import require_at_least


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
    """

    name: ClassVar[str] = "small_cnn"

    height: int
    width: int
    channels: int
    num_outputs: int
    filters: tuple[int, int] = (16, 32)
    hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(
            self, {"height": 4, "width": 4, "channels": 1, "num_outputs": 1, "hidden": 1}
        )
        if len(self.filters) != 2 or min(self.filters) < 1:
            raise ConfigurationError(
                f"Found filters {self.filters}, expected two positive numbers. "
                "Pass the output channels of both convolutions, for example (16, 32)."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self), "filters": list(self.filters)}


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
        """Whether the first layers keep the input's size.

        Of an image of 64 pixels the usual ones leave 2 x 2 at the end. Published weights are
        made for the usual ones.
        """
        return self.weights is None and max(self.height, self.width) <= 64

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""
        return {"name": self.name, **asdict(self)}
