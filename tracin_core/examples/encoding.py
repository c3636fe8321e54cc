"""Encoders: from an image file or a text to a tensor; saved as JSON with every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.examples.image_encoder import ImageEncoder
from tracin_core.examples.images import read_image
from tracin_core.examples.records import Content, Kind
from tracin_core.examples.table_encoder import TableEncoder
from tracin_core.examples.text_encoder import TextEncoder

Encoder = ImageEncoder | TextEncoder | TableEncoder

# Images looked at for the size and colours of all.
IMAGES_COMPARED = 32
# Sides of the input in pixels. Larger photographs are made smaller: what a built-in network can
# learn from a few thousand of them is there at 64, and every doubling costs four times the time.
LARGEST_SIDE = 64
SMALLEST_SIDE = 4


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
        if data.get("kind") == "table":
            return TableEncoder.from_json(fields["columns"])
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"The saved {data.get('kind')} encoder does not fit this version ({error}). "
            "Train and score the project again."
        ) from error
    raise ConfigurationError(
        f"Found an encoder of kind {data.get('kind')!r}, expected 'image', 'text' or 'table'. "
        "Train and score the project again."
    )


def fit_encoder(
    kind: Kind,
    contents: Iterable[Content],
    *,
    columns: Sequence[Mapping[str, Any]] = (),
    largest_side: int = LARGEST_SIDE,
    in_colour: bool = False,
) -> Encoder:
    """Make the encoder for a data set from its train examples.

    Args:
        kind: "image", "text" or "table".
        contents: The images' bytes, texts or rows of the train split, at least one; read once.
            Of images a sample from all over the split is enough: 2,000 are read.
        columns: Of a table's columns ``name`` and ``kind``, "number" or "category".
        largest_side: Of an image's input, in pixels.
        in_colour: Whether images are taken as RGB even if all are grey.
    """
    iterator = iter(contents)
    first = list(islice(iterator, IMAGES_COMPARED if kind == "image" else 1))
    if not first:
        raise ConfigurationError(
            "Found no train examples, expected at least one. Add train examples first."
        )
    everything = chain(first, iterator)
    if kind == "text":
        return TextEncoder.fit(text for text in everything if isinstance(text, str))
    if kind == "table":
        return TableEncoder.fit((row for row in everything if isinstance(row, Mapping)), columns)
    sample = [data for data in first if isinstance(data, bytes)]
    height, width, channels = _choose_input(sample, largest_side)
    images = (data for data in everything if isinstance(data, bytes))
    return ImageEncoder.fit(
        images, height=height, width=width, channels=3 if in_colour else channels
    )


def _choose_input(images: Sequence[bytes], largest_side: int) -> tuple[int, int, int]:
    """Return height, width and channels that suit some images: the usual ones, within limits."""
    import numpy as np

    decoded = [read_image(data) for data in images]
    height = float(np.median([image.height for image in decoded]))
    width = float(np.median([image.width for image in decoded]))
    scale = min(1.0, largest_side / max(height, width))
    # The small network halves its input twice.
    height, width = (max(SMALLEST_SIDE, round(side * scale)) for side in (height, width))
    return height, width, 3 if any(_has_colour(image) for image in decoded) else 1


def _has_colour(image: Any) -> bool:
    """Tell whether an image is more than shades of grey."""
    import numpy as np

    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.int16), -1, 0)
    return bool((red != green).any() or (green != blue).any())
