"""From an image file or a text to the numbers a network takes; saved as JSON with every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tracin_core.errors import ConfigurationError, InputError
from tracin_core.examples.images import read_image
from tracin_core.examples.records import Kind
from tracin_core.examples.words import count_words, split_words

if TYPE_CHECKING:
    from torch import Tensor

PADDING, UNKNOWN = 0, 1
NUM_RESERVED = 2
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
        cls, images: Sequence[bytes], *, height: int, width: int, channels: int = 1
    ) -> ImageEncoder:
        """Measure mean and standard deviation of the train images (of the first 2,000)."""
        import numpy as np

        shape = cls(height=height, width=width, channels=channels)
        values = [shape._read_pixels(data) for data in images[:MAX_IMAGES_MEASURED]]
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

    def encode(self, data: bytes) -> Tensor:
        """Return an image file as a tensor, float32, shape ``(channels, height, width)``.

        Raises:
            InputError: If it is no image, too large or damaged.
        """
        import torch

        pixels = torch.from_numpy(self._read_pixels(data)).to(torch.float32)
        return (pixels / 255.0 - self.mean) / self.std

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {"kind": "image", **asdict(self)}

    def _read_pixels(self, data: bytes) -> Any:
        """Return brightness 0..255, uint8, shape ``(channels, height, width)``."""
        import numpy as np
        from PIL import Image

        image = read_image(data, channels=self.channels)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        pixels = np.array(image, dtype=np.uint8).reshape(self.height, self.width, self.channels)
        return pixels.transpose(2, 0, 1).copy()


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """How a text becomes a fixed number of word ids.

    Id 0 is padding, id 1 a word outside of the vocabulary, id ``i + 2`` the word
    ``vocabulary[i]``.

    Attributes:
        vocabulary: Known words, lower-case, the most frequent first.
        max_tokens: Words that are read; the rest of a longer text is not seen.
    """

    vocabulary: tuple[str, ...]
    max_tokens: int = 128
    _ids: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigurationError(
                f"Found max_tokens = {self.max_tokens}, expected at least 1. "
                "Pass the number of words to read from each text, for example 128."
            )
        ids = {word: i + NUM_RESERVED for i, word in enumerate(self.vocabulary)}
        object.__setattr__(self, "_ids", ids)

    @property
    def num_ids(self) -> int:
        """Return the number of different ids, padding and unknown included."""
        return len(self.vocabulary) + NUM_RESERVED

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        max_words: int = 20_000,
        min_count: int = 2,
        max_tokens: int = 128,
    ) -> TextEncoder:
        """Make the vocabulary from the train texts.

        Args:
            texts: Train texts.
            max_words: Most words to know; the most frequent are kept, ties by spelling.
            min_count: A word in fewer texts than this can teach nothing that carries over.
            max_tokens: Words that are read from each text.
        """
        counts = count_words(texts, max_tokens=max_tokens)
        known = [word for word, count in counts.items() if count >= min_count]
        known.sort(key=lambda word: (-counts[word], word))
        return cls(vocabulary=tuple(known[:max_words]), max_tokens=max_tokens)

    def encode(self, text: str) -> Tensor:
        """Return a text as word ids, int64, shape ``(max_tokens,)``, padded with 0 at the end.

        Raises:
            InputError: If the text is empty.
        """
        import torch

        if not text.strip():
            raise InputError(
                "The text is empty, expected at least one word. Type or paste a text first."
            )
        words = split_words(text, limit=self.max_tokens)
        # Punctuation alone has no words; it is read as one unknown word, not as nothing.
        ids = [self._ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
        padded = torch.full((self.max_tokens,), PADDING, dtype=torch.int64)
        padded[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return padded

    def to_json(self) -> dict[str, Any]:
        """Return what ``encoder_from_json`` makes an equal encoder of."""
        return {
            "kind": "text",
            "vocabulary": list(self.vocabulary),
            "max_tokens": self.max_tokens,
        }


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
