"""Small pictures that are made by formulas, alike on every machine."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32


def make_pictures() -> npt.NDArray[np.uint8]:
    """Return four pictures: a slope, a disc, stripes and a checkerboard, ``(4, 32, 32, 3)``."""
    down, right = np.indices((SIDE, SIDE)) * 8
    slope = np.stack([right, down, 255 - right], axis=-1)
    far = (down - 128) ** 2 + (right - 128) ** 2 > 90**2
    disc = np.where(far[..., None], [40, 90, 160], [230, 180, 30])
    stripes = np.where((right // 32 % 2 == 0)[..., None], [200, 30, 30], [20, 20, 60])
    checks = np.where(
        ((down // 64 + right // 64) % 2 == 0)[..., None], [240, 240, 240], [10, 60, 10]
    )
    return np.stack([slope, disc, stripes, checks]).astype(np.uint8)


def make_files() -> list[bytes]:
    """Return the pictures as PNG files."""
    files = []
    for pixels in make_pictures():
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files
