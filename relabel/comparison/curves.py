"""Mislabel curves: how many wrong labels a ranking has found after some of the train examples.

Pruthi et al. 2020 (arXiv:2002.08484v3), Sec. 4.1, draws them for self-influence, influence
functions and representer points. Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.errors import NotFoundError
from relabel.scoring.evaluate import INSPECTED_SHARES

Numbers = npt.NDArray[np.float64]
# Places at which a curve is kept, 0 to 1: finer than a screen shows, whatever the data's size.
GRID: Numbers = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True, kw_only=True, eq=False)
class MislabelCurve:
    """How fast one ranking finds wrong labels.

    Attributes:
        found: Share of all wrong labels that is found at each place of ``GRID``, 0 to 1.
        found_at: The same at each of ``INSPECTED_SHARES``.
        area: Under the curve, 0 to 1; 0.5 is chance, and ``1 - share of wrong labels / 2`` is the
            most that any ranking can have.
    """

    found: Numbers
    found_at: tuple[float, ...]
    area: float


def trace_curve(scores: npt.ArrayLike, is_wrong: npt.ArrayLike) -> MislabelCurve:
    """Return the mislabel curve of a ranking.

    Examples with equal scores are inspected in a random order, of which this is the expectation:
    scores that are all equal give the diagonal.

    Args:
        scores: High for suspects, finite, shape ``(N,)``.
        is_wrong: Which labels are truly wrong, shape ``(N,)``; some, but not all.

    Raises:
        NotFoundError: If no label or every label is wrong.
    """
    values, wrong = np.asarray(scores, dtype=np.float64), np.asarray(is_wrong, dtype=bool)
    num_wrong, num_examples = int(wrong.sum()), len(wrong)
    if num_wrong in (0, num_examples):
        raise NotFoundError(
            f"{num_wrong} of {num_examples} train labels are wrong by the known truth, so there "
            "is nothing to tell apart. Compare methods on a project with some wrong labels."
        )
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)) + 1, num_examples)
    inspected = np.append(0, ends) / num_examples
    # Within a tie the expectation rises in a straight line.
    found = np.append(0, np.cumsum(wrong[order])[ends - 1]) / num_wrong
    return MislabelCurve(
        found=np.interp(GRID, inspected, found),
        found_at=tuple(np.interp(INSPECTED_SHARES, inspected, found).tolist()),
        area=float(np.trapezoid(found, inspected)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveBand:
    """Curves of one method over several seeds.

    Attributes:
        mean: Their mean.
        low: The least share found by any of them at each place of ``GRID``.
        high: The largest.
        area_low: The least area under any of them.
        area_high: The largest.
        num_seeds: How many there are.
    """

    mean: MislabelCurve
    low: Numbers
    high: Numbers
    area_low: float
    area_high: float
    num_seeds: int


def join_seeds(curves: Sequence[MislabelCurve]) -> CurveBand:
    """Return mean and range of one method's curves, one for each seed, at least one."""
    found = np.stack([curve.found for curve in curves])
    areas = [curve.area for curve in curves]
    at = np.mean([curve.found_at for curve in curves], axis=0)
    return CurveBand(
        mean=MislabelCurve(
            found=found.mean(axis=0), found_at=tuple(at.tolist()), area=float(np.mean(areas))
        ),
        low=found.min(axis=0),
        high=found.max(axis=0),
        area_low=min(areas),
        area_high=max(areas),
        num_seeds=len(curves),
    )
