"""How many of the given labels are wrong: the estimate of a random audit, with its interval.

What the ranked queue finds says nothing of what it has not shown, so its decisions never enter. An
audit's items are drawn by chance: each example alike ("uniform", without repetition), or the likely
errors more often ("weighted", with repetition). A weighted draw knows how probable each item was,
and weighs it back, so that the estimate does not depend on the guesses being right; only its width
does. The interval says what other draws of the same size would have given, and nothing of answers
that are themselves wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from relabel.db.engine import reading_one_state
from relabel.db.project_rules import project_in
from relabel.db.team.audits import Audit, AuditItem, find_audit, list_items

CONFIDENCE = 0.95
# Part of a weighted draw that is uniform, so that no example's weight exceeds its inverse; and what
# keeps the weight of examples that are certainly right or wrong above nothing.
UNIFORM_PART, LEAST_VARIANCE = 0.2, 0.01
# More items than this are not worth a plan.
MOST_ITEMS = 1_000_000

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A share that was estimated, and between which values it lies.

    Attributes:
        rate: The estimate, 0 to 1.
        low: Lower end of the interval.
        high: Upper end.
    """

    rate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class ClassNoise:
    """How many examples of one given label are wrong.

    Attributes:
        label: Class index.
        name: Of the class.
        rate: The estimate, 0 to 1.
        low: Lower end of its 95% interval.
        high: Upper end.
        num_audited: Draws of this class that were answered.
        num_wrong: Those whose label was found wrong.
        num_examples: Examples of the class in the frame.
    """

    label: int
    name: str
    rate: float
    low: float
    high: float
    num_audited: int
    num_wrong: int
    num_examples: int


@dataclass(frozen=True, kw_only=True)
class NoiseRate:
    """What share of the given labels of the train split is wrong, by the newest audit.

    Attributes:
        rate: The estimate, 0 to 1.
        low: Lower end of its 95% interval.
        high: Upper end.
        num_audited: Draws that were answered; an example that was drawn twice counts twice.
        num_wrong: Those whose label was corrected or which were excluded.
        num_drawn: All draws of the audit.
        num_skipped: Draws that were skipped, and so say nothing yet.
        num_examples: Examples that could be drawn: the frame, N.
        design: "uniform" or "weighted".
        by_class: The same by given label; empty for regression.
        uniform_worth: How many uniform draws would give as narrow an interval.
    """

    rate: float
    low: float
    high: float
    num_audited: int
    num_wrong: int
    num_drawn: int
    num_skipped: int
    num_examples: int
    design: str
    by_class: tuple[ClassNoise, ...]
    uniform_worth: float

    @property
    def num_open(self) -> int:
        """Draws that wait for an answer, skipped ones among them."""
        return self.num_drawn - self.num_audited

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    def count_more(self, half_width: float) -> int | None:
        """Return how many further answers narrow the interval to a half-width, if all goes on so.

        Returns:
            0 where it is that narrow; None where no answer could tell yet.
        """
        if not self.num_audited:
            return None
        efficiency = self.uniform_worth / self.num_audited
        wanted = count_for_width(self.rate, half_width)
        return max(0, math.ceil(wanted / efficiency) - self.num_audited)


def read_noise_rate(engine: Engine, project_id: int) -> NoiseRate | None:
    """Return what the newest audit of a project says by now; None where none was drawn.

    Before the first answer the interval reaches from 0 to 1.

    Raises:
        NotFoundError: If there is no such project.
    """
    with reading_one_state(engine) as connection:
        classes = project_in(connection, project_id).classes
        audit = find_audit(connection, project_id)
        items = [] if audit is None else list_items(connection, audit)
    return None if audit is None else estimate_noise(audit, items, classes)


def estimate_noise(audit: Audit, items: Sequence[AuditItem], classes: Sequence[str]) -> NoiseRate:
    """Return what an audit's answers say; see ``read_noise_rate``."""
    answered = [one for one in items if one.is_wrong is not None]
    whole = _estimate(audit, answered, None)
    spread = whole.rate * (1 - whole.rate)
    return NoiseRate(
        rate=whole.rate,
        low=whole.low,
        high=whole.high,
        num_audited=len(answered),
        num_wrong=sum(bool(one.is_wrong) for one in answered),
        num_drawn=len(items),
        num_skipped=sum(one.is_skipped for one in items),
        num_examples=audit.num_examples,
        design=audit.design,
        by_class=tuple(_estimate_classes(audit, answered, classes)),
        uniform_worth=_count_worth(whole, len(answered)) if spread else float(len(answered)),
    )


def _estimate_classes(
    audit: Audit, answered: Sequence[AuditItem], classes: Sequence[str]
) -> list[ClassNoise]:
    found = []
    for label, stratum in enumerate(audit.strata):
        of_class = [one for one in answered if one.given_label == label]
        interval = _estimate(audit, of_class, label)
        found.append(
            ClassNoise(
                label=label,
                name=classes[label],
                rate=interval.rate,
                low=interval.low,
                high=interval.high,
                num_audited=len(of_class),
                num_wrong=sum(bool(one.is_wrong) for one in of_class),
                num_examples=stratum.num_examples,
            )
        )
    return found


def _estimate(audit: Audit, answered: Sequence[AuditItem], label: int | None) -> Interval:
    """Return the estimate of the whole frame, or of a class: given how often it was drawn."""
    wrong = np.array([bool(one.is_wrong) for one in answered], dtype=np.float64)
    if audit.design == "uniform":
        return estimate_uniform(int(wrong.sum()), len(wrong))
    stratum = audit.whole if label is None else audit.strata[label]
    return estimate_weighted(
        wrong,
        np.array([one.guess for one in answered], dtype=np.float64),
        np.array([one.probability for one in answered], dtype=np.float64) / (stratum.drawn or 1.0),
        num_examples=stratum.num_examples,
        mean_guess=stratum.mean_guess,
    )


def estimate_uniform(num_wrong: int, num_audited: int) -> Interval:
    """Return the share of wrong labels from a uniform audit, with Wilson's 95% interval.

    Wilson 1927, as ``scipy.stats.binomtest`` has it. That examples are drawn without repetition
    makes it a little too wide where much of the frame was drawn.
    """
    if not num_audited:
        return Interval(0.0, 0.0, 1.0)
    return Interval(num_wrong / num_audited, *_wilson(num_wrong, num_audited))


def _wilson(num_wrong: int, num_audited: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found: Any = binomtest(num_wrong, num_audited).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def make_draw_weights(guesses: Numbers) -> Numbers:
    """Return how probable each example is in one weighted draw, shape ``(N,)``, together 1.

    ``q = 0.2 / N + 0.8 * sqrt(g (1 - g) + 0.01) / sum``: examples of which the guess is least sure
    say most, and none is left out.

    Args:
        guesses: How probable an error is, 0 to 1, shape ``(N,)``.
    """
    spread = np.sqrt(guesses * (1 - guesses) + LEAST_VARIANCE)
    weights: Numbers = UNIFORM_PART / len(guesses) + (1 - UNIFORM_PART) * spread / spread.sum()
    return weights


def estimate_weighted(
    wrong: Numbers,
    guesses: Numbers,
    probabilities: Numbers,
    *,
    num_examples: int,
    mean_guess: float,
) -> Interval:
    """Return the share of wrong labels from a weighted audit, with its 95% interval.

    The difference estimator of survey sampling, with repetition (Hansen and Hurwitz 1943):
    ``mean(g) + mean((e - g_v) / (N q_v))``. It is right in the mean whatever the guesses are.

    Args:
        wrong: Whether each drawn label is wrong, 0 or 1, shape ``(n,)``.
        guesses: How probable that was called, shape ``(n,)``.
        probabilities: How probable each was in one draw, shape ``(n,)``.
        num_examples: The frame's size, N.
        mean_guess: Mean of the guesses of all N.
    """
    if not len(wrong):
        return Interval(min(max(mean_guess, 0.0), 1.0), 0.0, 1.0)
    weights = 1.0 / (num_examples * probabilities)
    terms = mean_guess + (wrong - guesses) * weights
    rate = float(np.clip(terms.mean(), 0.0, 1.0))
    return Interval(rate, *_bound(rate, _variance_of(terms, weights, mean_guess), len(wrong)))


def _variance_of(terms: Numbers, weights: Numbers, mean_guess: float) -> float:
    """Return the variance of one term; of few draws one that errors not seen yet would add."""
    # One error that nobody suspected, as heavy as a draw is in the mean, and its counterpart, which
    # few draws may have missed: as Agresti and Coull 1998 add successes and failures. Without them
    # 30 draws covered the rate in 92%, with the heaviest weight in 99% (benchmarks/worth.py).
    weight = float(weights.mean())
    padded = np.concatenate([terms, [mean_guess + weight * (1 - mean_guess), mean_guess]])
    return float(padded.var(ddof=1))


def _bound(rate: float, variance: float, count: int) -> tuple[float, float]:
    """Return Wilson's interval for as many uniform draws as these are worth."""
    spread = max(rate * (1 - rate), 1e-4)
    return _wilson_of(rate, count * spread / max(variance, 1e-12))


def _wilson_of(rate: float, count: float) -> tuple[float, float]:
    """Return Wilson's interval for a number of draws that need not be whole."""
    z = 1.959963984540054  # of 95%, two-sided
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    half /= 1 + z * z / count
    # Rounding may put an end a hair beyond the estimate.
    return min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half))


def count_for_width(rate: float, half_width: float) -> int:
    """Return how many uniform draws give an interval of a half-width; at most ``MOST_ITEMS``."""
    low, high = 1, MOST_ITEMS
    while low < high:
        middle = (low + high) // 2
        bottom, top = _wilson_of(rate, middle)
        if (top - bottom) / 2 <= half_width:
            high = middle
        else:
            low = middle + 1
    return low


def _count_worth(interval: Interval, num_audited: int) -> float:
    """Return how many uniform draws would have given an interval as wide."""
    if not num_audited:
        return 0.0
    return float(count_for_width(interval.rate, interval.half_width))
