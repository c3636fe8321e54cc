"""How well each signal finds the planted errors, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tracin_core.errors import NotFoundError, WorkspaceError
from tracin_core.files import atomic_file

# Shares of the train examples inspected at which the errors found are counted.
INSPECTED_SHARES = (0.05, 0.10, 0.20, 0.30)


@dataclass(frozen=True)
class Detection:
    """How well one ranking finds wrong labels.

    Attributes:
        signal: Name of the ranking.
        found: Share of all wrong labels among the first of each ``INSPECTED_SHARES``, 0 to 1.
        auroc: Odds that a wrong label ranks before a right one, 0 to 1; 0.5 is chance.
        average_precision: Mean precision over the wrong labels, 0 to 1; chance is their share.
    """

    signal: str
    found: tuple[float, ...]
    auroc: float
    average_precision: float


def evaluate_detection(
    signal: str, scores: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]
) -> Detection:
    """Measure one ranking against the truth.

    Args:
        signal: Its name.
        scores: High for suspects, shape ``(N,)``.
        wrong: Which labels are truly wrong, shape ``(N,)``; some, but not all.

    Raises:
        NotFoundError: If no label or every label is wrong.
    """
    num_wrong, num_examples = int(wrong.sum()), len(wrong)
    if num_wrong in (0, num_examples):
        raise NotFoundError(
            f"{num_wrong} of {num_examples} train labels are wrong by the known truth, so there "
            "is nothing to tell apart. Evaluate a project with some wrong labels."
        )
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(wrong[order]) / num_wrong
    inspected = [max(round(share * num_examples), 1) for share in INSPECTED_SHARES]
    return Detection(
        signal=signal,
        found=tuple(float(found[count - 1]) for count in inspected),
        auroc=compute_auroc(scores, wrong),
        average_precision=compute_average_precision(scores, wrong),
    )


def expect_from_chance(wrong: npt.NDArray[np.bool_]) -> Detection:
    """Return what a random order finds on average."""
    return Detection("random", INSPECTED_SHARES, 0.5, float(wrong.mean()))


def compute_auroc(scores: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve; equal scores count half."""
    _, positions, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks = (ends - (counts - 1) / 2)[positions]
    num_wrong = int(wrong.sum())
    above = mean_ranks[wrong].sum() - num_wrong * (num_wrong + 1) / 2
    return float(above / (num_wrong * (len(wrong) - num_wrong)))


def compute_average_precision(
    scores: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]
) -> float:
    """Return the precision at each wrong label, averaged; equal scores enter together."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = np.cumsum(wrong[order])[ends]
    gained = np.diff(hits, prepend=0)
    return float((gained * hits / (ends + 1)).sum() / hits[-1])


def write_truth(path: Path, keys: list[str], true_labels: npt.NDArray[np.int64]) -> None:
    """Keep the true labels of the train examples apart, for evaluation only."""
    table = pa.table({"key": keys, "true_label": pa.array(true_labels, pa.int64())})
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_truth(path: Path) -> Mapping[str, int]:
    """Read the true class index by example key.

    Raises:
        NotFoundError: If the truth of this project is not known.
        WorkspaceError: If the file is damaged.
    """
    if not path.is_file():
        raise NotFoundError(
            f"The true labels of this project are not known ({path} does not exist), so there is "
            "nothing to evaluate against. Only the demo projects come with their truth."
        )
    try:
        columns = pq.read_table(path, columns=["key", "true_label"]).to_pydict()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise WorkspaceError(
            f"The known truth in {path} cannot be read: {error}. Delete the file and build the "
            "demo again with `python -m tracin_core demo`."
        ) from error
    return dict(zip(columns["key"], columns["true_label"], strict=True))
