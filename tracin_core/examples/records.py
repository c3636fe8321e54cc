"""The examples of a data set as plain records, and the keys that stay theirs for life."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracin_core.terms import Kind as Kind  # for those who know it from here
from tracin_core.terms import Split

# A row of a table by column, in the table's order; None where there is no value.
Fields = Mapping[str, float | str | None]
# What a network is to see of an example: an image file's bytes, a text, or a row.
Content = bytes | str | Fields

# 128 bits: two of a billion different examples share a key with odds of about 1e-21.
KEY_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class DemoExample:
    """One labelled example, as a reviewer gets to see it.

    Attributes:
        key: Stable name, made from the content alone; unique in its data set.
        split: "train" or "test".
        position: 0-based index within the split, the row in every array of a run.
        given_label: Class index that the data set claims, right or wrong.
        text: The text itself, for texts.
        image: PNG bytes, for images.
    """

    key: str
    split: Split
    position: int
    given_label: int
    text: str | None = None
    image: bytes | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.image is None):
            raise ValueError("an example has either a text or an image")

    @property
    def content(self) -> bytes | str:
        """Return what is to be encoded: the image's bytes or the text."""
        if self.image is not None:
            return self.image
        assert self.text is not None  # noqa: S101  (held by __post_init__; tells the type checker)
        return self.text


@dataclass(frozen=True, kw_only=True)
class DemoData:
    """A whole data set with planted label errors.

    Attributes:
        slug: Name in paths and on the command line.
        title: Name on the screen.
        description: Two or three sentences for the person who opens it.
        kind: "image" or "text".
        classes: Class names; labels index into them.
        examples: All examples, train by position and then test by position.
        true_labels: Classes before the planted errors, shape ``(N,)``, by train position.
            For evaluation only.
    """

    slug: str
    title: str
    description: str
    kind: Kind
    classes: tuple[str, ...]
    examples: tuple[DemoExample, ...]
    true_labels: npt.NDArray[np.int64]

    def of_split(self, split: Split) -> list[DemoExample]:
        """Return the examples of one split, by position."""
        return [example for example in self.examples if example.split == split]

    def given_labels(self, split: Split) -> npt.NDArray[np.int64]:
        """Return the claimed class indices of one split, shape ``(N,)``, by position."""
        return np.array([e.given_label for e in self.of_split(split)], dtype=np.int64)


def content_key(content: bytes | str) -> str:
    """Return a key that depends on the content alone: 32 hexadecimal digits.

    Args:
        content: An image's pixels or bytes, or a text (hashed as UTF-8; a lone surrogate, which
            UTF-8 has no room for, is hashed by its number).
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=KEY_BYTES).hexdigest()
