"""Put together what several kinds of models say, each by how well it agrees with the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from relabel.triage.suspicion import weigh_by_errors


def weigh(errors: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the part of each candidate by its errors, all together 1, shape ``(M,)``."""
    parts = weigh_by_errors(errors)
    weights: npt.NDArray[np.float64] = parts / parts.sum()
    return weights


def normalise(logs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return logarithms of probabilities that add up to 1, shape ``(N, K)``."""
    shifted = logs - logs.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
