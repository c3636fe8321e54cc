"""From an image file to the numbers a network takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from tracin_core.errors import ConfigurationError
from tracin_core.examples.images import read_image

if TYPE_CHECKING:
    from torch import Tensor

# Enough of an image set to know its mean brightness to well under a percent.
MAX_IMAGES_MEASURED = 2000
MAX_IMAGE_SIDE = 4096  # pixels; a network for more would not fit any machine of a reviewer


@dataclass(frozen=True, kw_only=True)
class ImageEncoder:
    """How an image file becomes a tensor.

    Attributes:
        height: Pixels of the network's input; other images are resized to it.
        width: The same.
        channels: 1 for grey, 3 for RGB.
        mean: Mean brightness of the train images, 0 to 1, subtracted.
        std: Standard deviation of their brightness, divided by.
    """

    height: int
    width: int
    channels: int = 1
    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        sides = (self.height, self.width)
        if not all(1 <= s <= MAX_IMAGE_SIDE for s in sides) or self.channels not in (1, 3):
            raise ConfigurationError(
                f"Found an image input of {self.height} x {self.width} pixels with "
                f"{self.channels} channels, expected sides from 1 to {MAX_IMAGE_SIDE} and "
                "1 channel (grey) or 3 (RGB). Correct the encoder's settings."
            )
        if not self.std > 0:
            raise ConfigurationError(
                f"Found a standard deviation of {self.std}, expected a positive number. "
                "Use 1 for images that are all alike."
            )

    @classmethod
    def fit(
        cls, images: Iterable[bytes], *, height: int, width: int, channels: int = 1
    ) -> ImageEncoder:
        """Measure mean and standard deviation of the train images (of the first 2,000)."""
        import numpy as np

        shape = cls(height=height, width=width, channels=channels)
        values = [shape.read(data) for data in islice(images, MAX_IMAGES_MEASURED)]
        if not values:
            return shape
        stacked = np.stack(values).astype(np.float64) / 255.0
        # A set of uniform images has no spread; 1/255 is the smallest a real one can have.
        spread = max(float(stacked.std()), 1 / 255)
        return cls(
            height=height,
            width=width,
            channels=channels,
            mean=round(float(stacked.mean()), 6),
            std=round(spread, 6),
        )

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Return the shape of what ``read`` returns."""
        return (self.channels, self.height, self.width)

    @property
    def stored_type(self) -> str:
        """Return the number type of what ``read`` returns, as NumPy names it."""
        return "uint8"

    def encode(self, data: bytes) -> Tensor:
        """Return an image file as a tensor, float32, shape ``(channels, height, width)``.

        Raises:
            InputError: If it is no image, too large or damaged.
        """
        import torch

        return self.to_inputs(torch.from_numpy(self.read(data)))

    def read(self, data: bytes) -> Any:
        """Return brightness 0..255, a quarter of the input's size, shape ``stored_shape``.

        Raises:
            InputError: If it is no image, too large or damaged.
        """
        import numpy as np
        from PIL import Image

        image = read_image(data, channels=self.channels)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.array(image, dtype=np.uint8).reshape(self.height, self.width, self.channels)
        return pixels.transpose(2, 0, 1).copy()

    def to_inputs(self, stored: Tensor) -> Tensor:
        """Return what was read, one example or a batch of them, as the network takes it."""
        import torch

        return (stored.to(torch.float32) / 255.0 - self.mean) / self.std

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {"kind": "image", **asdict(self)}
