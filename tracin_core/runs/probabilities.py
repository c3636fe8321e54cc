"""Class probabilities as they are stored: all of them, or of many classes the largest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Up to so many classes all probabilities are stored, 1 KB an example. With 10,000 classes it
# would be 40 KB, 2.4 GB for 60,000 examples, of which a person sees a handful.
STORED_CLASSES = 256
# Of more classes, so many probabilities are stored, each with its class.
LARGEST_STORED = 64


def count_columns(num_classes: int) -> int:
    """Return the numbers that are stored for an example."""
    return num_classes if num_classes <= STORED_CLASSES else 2 * LARGEST_STORED


def pack_probabilities(probabilities: Floats) -> Floats:
    """Return probabilities as they are stored.

    Args:
        probabilities: Of all classes, shape ``(B, K)``.

    Returns:
        The same; or of many classes the largest ones in falling order and after them their
        classes, as numbers that single precision holds exactly, shape ``(B, 128)``.
    """
    if probabilities.shape[1] <= STORED_CLASSES:
        return probabilities
    classes = np.argpartition(-probabilities, LARGEST_STORED, axis=1)[:, :LARGEST_STORED]
    largest = np.take_along_axis(probabilities, classes, axis=1)
    order = np.argsort(-largest, axis=1, kind="stable")
    parts = [np.take_along_axis(values, order, axis=1) for values in (largest, classes)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def unpack_probabilities(stored: Floats, num_classes: int) -> Floats:
    """Return an example's class probabilities, shape ``(K,)``.

    Of many classes, all but the largest ones are zero; together they are what is missing to 1.

    Raises:
        ValueError: If a stored class is none of theirs.
    """
    if num_classes <= STORED_CLASSES:
        return np.array(stored)
    classes = stored[LARGEST_STORED:]
    if not ((classes >= 0) & (classes < num_classes)).all():
        raise ValueError(f"found classes outside 0 to {num_classes - 1}")
    probabilities = np.zeros(num_classes, dtype=np.float32)
    probabilities[classes.astype(np.int64)] = stored[:LARGEST_STORED]
    return probabilities


def find_largest(stored: npt.NDArray[np.float32], num_classes: int) -> Floats:
    """Return each example's largest probability, shape ``(N,)``."""
    if num_classes > STORED_CLASSES:
        return np.array(stored[:, 0])
    largest: Floats = np.array(stored).max(axis=1, initial=0.0)
    return largest
