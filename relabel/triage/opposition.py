"""How much the test examples speak against a train example: the FAQ's second method.

The sum of a train example's influences on the test examples, taken negative: one that makes the
network worse on examples it was not trained on may have a wrong label (Pruthi et al. 2020, TracIn's
FAQ, "How to use TracIn to find mislabelled examples"). Read from a run's stored vectors, a chunk at
a time and without torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relabel.runs.folder import RunFolder

ROWS_AT_ONCE = 8_192
# Sums for each class of the test examples are kept in memory: of many classes they would be large.
MOST_NUMBERS = 64_000_000


def sum_opposition(folder: RunFolder) -> npt.NDArray[np.float64] | None:
    """Return the negative sum of each train example's influences on all test examples.

    Args:
        folder: Of a run.

    Returns:
        Shape ``(N,)``, high for suspects; None where the run has no test examples.
    """
    config = folder.read_config()
    if not config.counts["test"]:
        return None
    layers = config.scored_layers[0]
    total = np.zeros(folder.vectors(layers, "test").shape[1])
    for rows in _chunks(folder.vectors(layers, "test")):
        total += rows.sum(axis=0, dtype=np.float64)
    return np.concatenate(
        [-(rows.astype(np.float64) @ total) for rows in _chunks(folder.vectors(layers, "train"))]
    )


def sum_opposition_of(
    folder: RunFolder,
    labels: npt.NDArray[np.integer],
    others: npt.NDArray[np.integer],
) -> npt.NDArray[np.float64] | None:
    """Return the same over those test examples alone that carry the likeliest other label.

    Args:
        folder: Of a run.
        labels: Of the test examples, shape ``(M,)``.
        others: Of each train example the likeliest label beside the given one, shape ``(N,)``.

    Returns:
        Shape ``(N,)``, high for suspects; None where the run has no test examples, or so many
        classes that their sums do not fit.
    """
    config = folder.read_config()
    layers = config.scored_layers[0]
    classes = len(config.classes)
    if not config.counts["test"] or len(labels) != config.counts["test"]:
        return None
    vectors = folder.vectors(layers, "test")
    if classes * vectors.shape[1] > MOST_NUMBERS:
        return None
    totals = np.zeros((classes, vectors.shape[1]))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = np.asarray(vectors[start : start + ROWS_AT_ONCE], dtype=np.float64)
        np.add.at(totals, labels[start : start + ROWS_AT_ONCE], rows)
    found = np.empty(len(others))
    train = folder.vectors(layers, "train")
    for start in range(0, len(train), ROWS_AT_ONCE):
        rows = np.asarray(train[start : start + ROWS_AT_ONCE], dtype=np.float64)
        chosen = totals[others[start : start + ROWS_AT_ONCE]]
        found[start : start + len(rows)] = -np.einsum("nd,nd->n", rows, chosen)
    return found


def _chunks(vectors: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [vectors[start : start + ROWS_AT_ONCE] for start in range(0, len(vectors), ROWS_AT_ONCE)]
