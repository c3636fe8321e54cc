"""The digits demo: the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn carries.

They are the test part of the UCI "Optical Recognition of Handwritten Digits" set.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt

from relabel.features.records import (
    DemoData,
    DemoExample,
    choose_test_rows,
    content_key,
    flip_labels,
)
from relabel.text import Split

CLASSES = tuple("0123456789")
BRIGHTEST = 16  # scikit-learn's images count the ink of 4 x 4 blocks: 0 to 16
TEST_SHARE = 0.2
SPLIT_SEED = 0  # fixed, so that positions and keys are the same for every set of planted errors


def load_digits_demo(*, seed: int, noise: float) -> DemoData:
    """Return the digits demo.

    Args:
        seed: Chooses the planted errors.
        noise: Share of wrong train labels, 0 to 1.

    Returns:
        About 1,437 train and 360 test images as PNG, every class split alike.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    labels = labels.astype(np.int64)
    pixels = np.round(images.reshape(-1, 8, 8) * (255 / BRIGHTEST)).astype(np.uint8)
    test_rows = choose_test_rows(labels, share=TEST_SHARE, seed=SPLIT_SEED)
    train_rows = np.setdiff1d(np.arange(len(labels)), test_rows)
    true_labels = labels[train_rows]
    given = flip_labels(true_labels, len(CLASSES), noise=noise, seed=seed)
    return DemoData(
        slug="digits",
        title="Handwritten digits",
        description=(
            f"{len(labels):,} handwritten digits of 8 x 8 pixels. {noise:.0%} of the train labels "
            "were changed to a wrong digit on purpose: find them."
        ),
        kind="image",
        classes=CLASSES,
        examples=(
            *_make_examples("train", pixels[train_rows], given),
            *_make_examples("test", pixels[test_rows], labels[test_rows]),
        ),
        true_labels=true_labels,
    )


def _make_examples(
    split: Split, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> list[DemoExample]:
    return [
        DemoExample(
            key=content_key(image.tobytes()),  # of the pixels: PNG bytes vary with zlib's version
            split=split,
            position=position,
            given_label=int(label),
            image=_write_png(image),
        )
        for position, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]


def _write_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
