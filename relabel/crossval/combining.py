"""Put together what several kinds of models say, each by how well it agrees with the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# A model that is wrong so much more often than the best one, by this part, has no say. The one
# whose held-out predictions agree most with the given labels also finds wrong ones best, on every
# data set tried; several good ones together find more than one, and a bad one among them spoils it.
TOLERANCE = 0.25


def weigh(errors: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the part of each candidate, all together 1.

    Args:
        errors: Share of examples that each gets wrong, or its mean squared error; shape ``(M,)``.

    Returns:
        The best one has the largest part; it falls in a straight line to 0 where one is wrong
        ``1 + TOLERANCE`` times as often. Shape ``(M,)``.
    """
    wrong = np.asarray(errors, dtype=np.float64)
    best = wrong.min()
    # Where the best is never wrong, only others like it have a say.
    excess = (wrong - best) / best if best > 0 else np.where(wrong > 0, np.inf, 0.0)
    parts: npt.NDArray[np.float64] = np.maximum(0.0, 1.0 - excess / TOLERANCE)
    weights: npt.NDArray[np.float64] = parts / parts.sum()
    return weights


def normalise(logs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return logarithms of probabilities that add up to 1, shape ``(N, K)``."""
    shifted = logs - logs.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
