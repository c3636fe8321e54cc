"""Encoders: from an image file or a text to a tensor; saved as JSON with every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.examples.image_encoder import ImageEncoder
from tracin_core.examples.images import read_image
from tracin_core.examples.records import Kind
from tracin_core.examples.text_encoder import TextEncoder

Encoder = ImageEncoder | TextEncoder


def encoder_from_json(data: dict[str, Any]) -> Encoder:
    """Make the encoder that ``to_json`` described.

    Raises:
        ConfigurationError: If the description is of no encoder that this version knows.
    """
    fields = {name: value for name, value in data.items() if name != "kind"}
    try:
        if data.get("kind") == "image":
            return ImageEncoder(**fields)
        if data.get("kind") == "text":
            return TextEncoder(
                vocabulary=tuple(fields.pop("vocabulary")), max_tokens=int(fields.pop("max_tokens"))
            )
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"The saved {data.get('kind')} encoder does not fit this version ({error}). "
            "Train and score the project again."
        ) from error
    raise ConfigurationError(
        f"Found an encoder of kind {data.get('kind')!r}, expected 'image' or 'text'. "
        "Train and score the project again."
    )


def fit_encoder(kind: Kind, contents: Sequence[bytes | str]) -> Encoder:
    """Make the encoder for a data set from its train examples, images at their own size.

    Args:
        kind: "image" or "text".
        contents: The images' bytes or the texts of the train split, at least one.
    """
    if not contents:
        raise ConfigurationError(
            "Found no train examples, expected at least one. Add train examples first."
        )
    if kind == "text":
        return TextEncoder.fit([text for text in contents if isinstance(text, str)])
    images = [data for data in contents if isinstance(data, bytes)]
    first = read_image(images[0])
    channels = 3 if _has_colour(images[:32]) else 1
    return ImageEncoder.fit(images, height=first.height, width=first.width, channels=channels)


def _has_colour(images: Sequence[bytes]) -> bool:
    """Tell whether any of some images is more than shades of grey."""
    import numpy as np

    for data in images:
        red, green, blue = np.moveaxis(np.asarray(read_image(data), dtype=np.int16), -1, 0)
        if (red != green).any() or (green != blue).any():
            return True
    return False
