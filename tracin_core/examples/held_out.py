"""Which examples are held out for testing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
