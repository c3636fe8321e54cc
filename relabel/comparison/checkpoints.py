"""Which wrong labels each checkpoint alone finds, class by class. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Of the train examples, from the top of the ranking: as in the paper's figure.
TOP_SHARE = 0.10


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundByClass:
    """Wrong labels among the first of a ranking by one checkpoint's self-influence.

    Attributes:
        found: At each of C checkpoints, of each of L classes; expectations where scores are equal,
            shape ``(C, L)``.
        wrong: Wrong labels of each class, shape ``(L,)``.
        top_share: Share of the train examples that is inspected.
    """

    found: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.int64]
    top_share: float = TOP_SHARE

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Return the share of each class's wrong labels that is found, NaN where it has none."""
        with np.errstate(invalid="ignore"):
            shares: npt.NDArray[np.float64] = self.found / np.where(self.wrong, self.wrong, np.nan)
        return shares


def count_by_class(
    scores: npt.ArrayLike,
    is_wrong: npt.ArrayLike,
    labels: npt.ArrayLike,
    num_classes: int,
    top_share: float = TOP_SHARE,
) -> FoundByClass:
    """Count the wrong labels that each checkpoint ranks first, by the label that they carry.

    Pruthi et al. 2020 (arXiv:2002.08484v3), Fig. 8: different checkpoints find the wrong labels of
    different classes, which is why TracIn sums over several.

    Args:
        scores: Self-influence at each checkpoint, shape ``(C, N)``.
        is_wrong: Which labels are truly wrong, shape ``(N,)``.
        labels: As given, shape ``(N,)``.
        num_classes: L.
        top_share: Share of the train examples that is inspected, 0 to 1.
    """
    wrong = np.asarray(is_wrong, dtype=bool)
    given = np.asarray(labels, dtype=np.int64)
    count = max(round(top_share * len(wrong)), 1)
    found = [
        np.bincount(given, weights=_weigh_first(row, count) * wrong, minlength=num_classes)
        for row in np.asarray(scores, dtype=np.float64)
    ]
    return FoundByClass(
        found=np.stack(found),
        wrong=np.bincount(given[wrong], minlength=num_classes),
        top_share=top_share,
    )


def _weigh_first(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Return how likely each example is among the first, ties in random order, ``(N,)``."""
    last = np.partition(scores, -count)[-count]
    above, equal = scores > last, scores == last
    weights: npt.NDArray[np.float64] = above + equal * ((count - above.sum()) / equal.sum())
    return weights
