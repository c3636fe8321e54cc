"""Pictures as frozen networks take them, some at a time. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from relabel.features.backbones.parts import compute_in_parts
from relabel.features.image import read_image
from relabel.features.records import Content
from tracin_core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Pictures that go through a network at a time. Of 64 at once, what lies between two layers fits no
# cache: EfficientNet-Lite0 took 13.7 ms a picture of 176 pixels, against 10.1 ms for 8; in the
# default layout of memory 16.8 ms for 8.
PICTURES_AT_ONCE = 8


class PictureBackbone:
    """A frozen network that makes features of pictures.

    Attributes:
        size: Pixels of the input's side.
        dim: Features ``D`` of a picture.
    """

    def __init__(self, network: nn.Module, prepare: Callable[[Image], Tensor], size: int) -> None:
        """Wrap a network.

        Args:
            network: From ``(B, 3, H, W)`` to ``(B, D)``, in evaluation mode.
            prepare: From a decoded picture to ``(3, H, W)``, float32.
            size: Pixels of the input's side.
        """
        self._network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        self._prepare = prepare
        self.size = size
        with torch.inference_mode():
            self.dim = int(self._network(torch.zeros(1, 3, size, size)).shape[1])

    def compute(self, contents: Sequence[Content]) -> npt.NDArray[np.float32]:
        """Return the features of some image files, shape ``(B, D)``.

        Raises:
            InputError: If one is no image, too large or damaged.
        """
        return compute_in_parts(contents, PICTURES_AT_ONCE, self._compute_part)

    def _compute_part(self, contents: Sequence[Content]) -> Tensor:
        batch = torch.stack([self._read(content) for content in contents])
        images = batch.contiguous(memory_format=torch.channels_last)
        features: Tensor = self._network(images)
        return features.reshape(len(contents), -1)

    def _read(self, content: Content) -> Tensor:
        if not isinstance(content, bytes):
            raise InputError(f"Found a {type(content).__name__}, expected an image file's bytes.")
        return self._prepare(read_image(content))


def squeeze_picture(image: Image, size: int) -> npt.NDArray[np.uint8]:
    """Return a picture as a square of pixels, by bicubic interpolation, ``(size, size, 3)``."""
    from PIL import Image as Pillow

    if image.size != (size, size):
        image = image.resize((size, size), Pillow.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)
