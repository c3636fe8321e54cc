"""Plain records of a data set with keys for life, the split for testing, and planted label errors.

Errors are planted so that it is known afterwards how many of them were found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.text import (
    Kind,  # for those who know it from here
    Split,
)
from tracin_core.errors import ConfigurationError

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


def choose_test_rows(
    labels: npt.NDArray[np.int64], *, share: float, seed: int
) -> npt.NDArray[np.int64]:
    """Choose the same share of every class, at random by seed.

    Args:
        labels: Class indices, shape ``(N,)``.
        share: Share of each class, 0 to 1, rounded to whole examples.
        seed: The same seed gives the same rows.

    Returns:
        Row numbers in ascending order.
    """
    generator = np.random.default_rng(seed)
    chosen = [np.empty(0, dtype=np.int64)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        chosen.append(rows[: round(share * len(rows))])
    return np.sort(np.concatenate(chosen))


def flip_labels(
    labels: npt.NDArray[np.int64], num_classes: int, *, noise: float, seed: int
) -> npt.NDArray[np.int64]:
    """Return a copy of the labels with a fixed share of them wrong.

    Which labels are changed is uniform over the examples, and the wrong class is uniform over
    the others ("symmetric" noise, as in Pruthi et al. 2020, arXiv:2002.08484v3, Sec. 4.1, which
    changes 10%).

    Args:
        labels: True class indices, shape ``(N,)``; left as they are.
        num_classes: Number of classes ``K``.
        noise: Share to change, 0 to 1; exactly ``round(noise * N)`` labels change.
        seed: The same seed gives the same errors.

    Returns:
        Labels, shape ``(N,)``.

    Raises:
        ConfigurationError: If the share is not between 0 and 1, or there is no other class.
    """
    if not 0.0 <= noise <= 1.0:
        raise ConfigurationError(
            f"Found a share of label errors of {noise}, expected a number from 0 to 1. "
            "Pass for example 0.1 to change one label in ten."
        )
    flipped = np.array(labels, dtype=np.int64)
    count = round(noise * len(flipped))
    if count and num_classes < 2:
        raise ConfigurationError(
            f"Found {num_classes} class, so there is no other class to change a label to. "
            "Use at least two classes, or a share of errors of 0."
        )
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(flipped), size=count, replace=False)
    # A shift of 1..K-1 around the circle of classes can never land on the class itself.
    shifts = generator.integers(1, num_classes, size=count) if count else chosen
    flipped[chosen] = (flipped[chosen] + shifts) % num_classes
    return flipped
