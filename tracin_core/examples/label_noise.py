"""Plant label errors, so that it is known afterwards how many were found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracin_core.errors import ConfigurationError


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
