"""How well each signal finds the planted errors, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from relabel.errors import NotFoundError

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
        auroc=float(roc_auc_score(wrong, scores)),
        average_precision=float(average_precision_score(wrong, scores)),
    )


def expect_from_chance(wrong: npt.NDArray[np.bool_]) -> Detection:
    """Return what a random order finds on average."""
    return Detection("random", INSPECTED_SHARES, 0.5, float(wrong.mean()))
