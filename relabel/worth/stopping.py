"""When to stop reviewing a list: two rules with a promise, and how far it still is.

Without an audit, CMH (Callaghan and Mueller-Hansen 2020, Systematic Reviews 9:273): were more than
the promised share still missing, so few errors among the last ones reviewed would be improbable.
With a uniform audit, QBCB (Lewis et al. 2021, arXiv:2106.09871): of the errors that the audit found
by chance, so many lie among what was reviewed that the recall is almost surely reached.

Both speak of the errors that a person would call errors, in the list that a run ranks. Neither says
that a single answer is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, and_, select, update

from relabel.db.decisions.kinds import list_codes
from relabel.db.engine import reading_one_state, writing
from relabel.db.filtering import is_reviewed
from relabel.db.project_rules import project_in
from relabel.db.queue import choose_ranking
from relabel.db.runs import RankedRun, ranked_run_in
from relabel.db.schema import DEFERRING, DecisionRow, ProjectRow, ScoreRow, effective
from relabel.db.team.audits import SOURCE, Audit, AuditItem, find_audit, is_waiting, list_items
from relabel.errors import InvalidDecisionError
from relabel.text import counted
from relabel.triage.signals import choose_default_signal
from relabel.worth.noise_rate import estimate_noise

Rule = Literal["cmh", "qbcb"]
# Where in a project's settings the goal is kept.
SETTING = "stopping"
# Windows of the last reviews that CMH looks at, by their number; fewer windows can only stop later.
WINDOWS = 200
# Fewer reviews, or errors, say nothing of how the list goes on.
LEAST_REVIEWS, LEAST_FOUND = 20, 3
# Steps of the forecast, each so much deeper than the last, and the windows that it looks at.
_STEPS, _FEW_WINDOWS = 20, 40

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Goal:
    """What a person wants to be promised.

    Attributes:
        recall: Share of the errors that are to be found, 0 to 1.
        confidence: How sure that is to be, 0 to 1.
    """

    recall: float = 0.8
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not (0 < self.recall < 1 and 0.5 <= self.confidence < 1):
            raise InvalidDecisionError(
                f"Found the recall {self.recall} and the confidence {self.confidence}. Expected a "
                "recall between 0 and 1, and a confidence from 0.5 to below 1, such as 0.8 and "
                "0.95."
            )


@dataclass(frozen=True, kw_only=True)
class StopState:
    """How far a review is from where it may stop.

    Attributes:
        rule: "qbcb" where a uniform audit was answered, else "cmh".
        goal: What is promised once it is met.
        is_met: Whether it may stop.
        num_reviewed: Of the list, however they were reached.
        num_found: Errors among them.
        num_ranked: Length of the list.
        more: About how many more of the list it takes; 0 where it is met, None where nobody can
            tell yet.
        errors_left: About how many errors are still in the list; None where nobody can tell.
        errors_left_low: Lower end of its 95% interval, with an audit; else None.
        errors_left_high: Upper end.
        sentence: The state, in a sentence.
        promise: What is promised and what is not.
    """

    rule: Rule
    goal: Goal
    is_met: bool
    num_reviewed: int
    num_found: int
    num_ranked: int
    more: int | None
    errors_left: float | None
    errors_left_low: float | None
    errors_left_high: float | None
    sentence: str
    promise: str


def read_goal(settings: Mapping[str, Any]) -> Goal:
    """Return what a project's settings say; what they do not say rightly is the usual goal."""
    found = settings.get(SETTING)
    try:
        return Goal(float(found["recall"]), float(found["confidence"])) if found else Goal()
    except (LookupError, TypeError, ValueError, InvalidDecisionError):
        return Goal()


def set_goal(engine: Engine, project_id: int, goal: Goal) -> None:
    """Keep a goal with the project.

    Raises:
        NotFoundError: If there is no such project.
    """
    with writing(engine) as connection:
        project = project_in(connection, project_id)
        kept = {"recall": goal.recall, "confidence": goal.confidence}
        settings = {**project.settings, SETTING: kept}
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == project_id).values(settings=settings)
        )


def read_stop_state(engine: Engine, run_id: int, signal: str | None = None) -> StopState:
    """Return how far the review of a run's list is from where it may stop.

    Args:
        engine: The database.
        run_id: The run.
        signal: By which the list is ranked; None for the run's usual one.

    Raises:
        NotFoundError: If there is no such run, or it is not ranked by the signal.
    """
    with reading_one_state(engine) as connection:
        run = ranked_run_in(connection, run_id)
        run, ranking = choose_ranking(run, signal or choose_default_signal(run.signals))
        project = project_in(connection, run.project_id)
        audit = find_audit(connection, run.project_id)
        items = [] if audit is None else list_items(connection, audit)
        reviews = _read_reviews(connection, run, ranking)
        goal = read_goal(project.settings)
        by_audit = None
        if audit is not None:
            certified = _read_certified(connection, run, ranking, audit, items)
            by_audit = certified.judge(goal)
    left = _bound_left(audit, items, project.classes, reviews.found)
    if by_audit is not None:
        is_met, more, rule = by_audit.is_met, by_audit.more, "qbcb"
    else:
        outlook = forecast_stop(reviews.errors, run.num_ranked, goal)
        is_met, more, rule = outlook.is_met, outlook.more, "cmh"
        left = left or (outlook.errors_left, None, None)
    return _describe(
        rule=rule,  # type: ignore[arg-type]  # one of the two
        goal=goal,
        is_met=is_met,
        more=more,
        num_reviewed=reviews.reviewed,
        num_found=reviews.found,
        num_ranked=run.num_ranked,
        left=left or (None, None, None),
    )


class Reviews(NamedTuple):
    """What was decided of a list.

    Attributes:
        errors: Which reviews found an error, in their order, shape ``(n,)``; no audit's.
        reviewed: Examples that are decided, those of audits among them.
        found: Errors among these.
    """

    errors: Flags
    reviewed: int
    found: int


def _read_reviews(connection: Connection, run: RankedRun, ranking: str) -> Reviews:
    rows = connection.execute(
        select(effective.c.action, DecisionRow.source)
        .select_from(effective)
        .join(DecisionRow, DecisionRow.id == effective.c.id)
        .join(
            ScoreRow,
            and_(
                ScoreRow.scoring_id == run.scoring_id,
                ScoreRow.signal == ranking,
                ScoreRow.example_id == effective.c.example_id,
            ),
        )
        .where(effective.c.project_id == run.project_id, effective.c.action.not_in(DEFERRING))
        .order_by(effective.c.id)
    ).all()
    wrong = list_codes("correct", "exclude")
    errors = [action in wrong for action, source in rows if source != SOURCE]
    found = sum(action in wrong for action, _ in rows)
    return Reviews(np.array(errors, dtype=np.bool_), len(rows), found)


@dataclass(frozen=True)
class Certified:
    """What an audit says of the depth that a review has reached.

    Attributes:
        ranks: Of the errors that the certifying part of the audit found, ascending.
        depth: The list is reviewed down to this rank, without a gap.
        undecided: How many above each of those ranks are still to be reviewed.
    """

    ranks: tuple[int, ...]
    depth: int
    undecided: tuple[int, ...]

    def judge(self, goal: Goal) -> Judged | None:
        """Return whether the goal is met; None where too few errors were found by chance."""
        needed = count_needed(len(self.ranks), goal)
        if needed is None:
            return None
        more = self.undecided[needed - 1]
        return Judged(self.ranks[needed - 1] <= self.depth or more == 0, more, None)


@dataclass(frozen=True)
class Judged:
    """A rule's verdict.

    Attributes:
        is_met: Whether the review may stop.
        more: About how many more it takes; None where nobody can tell.
        errors_left: About how many errors are left; None where nobody can tell.
    """

    is_met: bool
    more: int | None
    errors_left: float | None


def _read_certified(
    connection: Connection,
    run: RankedRun,
    ranking: str,
    audit: Audit,
    items: Sequence[AuditItem],
) -> Certified:
    """Return where the errors lie by which recall is certified; none while answers are missing.

    What taught the order does not certify it, nor does a weighted draw, whose errors are no random
    ones. That all must be answered keeps the sample as large as it was decided to be.
    """
    certifying = [one for one in items if not one.teaches]
    is_complete = all(one.is_wrong is not None or one.is_skipped for one in certifying)
    if audit.design != "uniform" or not is_complete:
        return Certified((), 0, ())
    of_list = (ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == ranking)
    wrong = [one.example_id for one in certifying if one.is_wrong]
    ranks = sorted(
        connection.scalars(
            select(ScoreRow.rank).where(*of_list, ScoreRow.example_id.in_(wrong))
        ).all()
    )
    is_open = (~is_reviewed(), ~is_waiting(audit.id, ScoreRow.example_id))
    first = connection.scalar(
        select(ScoreRow.rank).where(*of_list, *is_open).order_by(ScoreRow.rank).limit(1)
    )
    depth = run.num_ranked if first is None else first - 1
    deep = [rank for rank in ranks if rank > depth]
    if not deep:
        return Certified(tuple(ranks), depth, (0,) * len(ranks))
    open_ranks = np.array(
        connection.scalars(
            select(ScoreRow.rank)
            .where(*of_list, *is_open, ScoreRow.rank <= deep[-1])
            .order_by(ScoreRow.rank)
        ).all()
    )
    undecided = np.searchsorted(open_ranks, ranks, side="right").tolist()
    return Certified(tuple(ranks), depth, tuple(undecided))


def count_needed(num_errors: int, goal: Goal) -> int | None:
    """Return how many of the errors found by chance must lie above the depth.

    QBCB: the least ``j`` with ``binom.cdf(j - 1, r, recall) >= confidence``.

    Args:
        num_errors: Errors found by chance, r.
        goal: What is promised.

    Returns:
        None where even all of them would not be enough: ``least_errors`` says how many are.
    """
    from scipy.stats import binom

    needed = int(binom.ppf(goal.confidence, num_errors, goal.recall)) + 1 if num_errors else 1
    return needed if needed <= num_errors else None


def least_errors(goal: Goal) -> int:
    """Return how many errors found by chance certify a recall at all: 14 for 80% at 95%."""
    return math.ceil(math.log(1 - goal.confidence) / math.log(goal.recall))


def compute_cmh(
    errors: Flags, num_ranked: int, recall: float, most_windows: int = WINDOWS
) -> float:
    """Return how probable the last reviews are, were the recall below the wish.

    Callaghan and Mueller-Hansen 2020: were at least ``K = floor(found / recall + 1)`` errors in the
    list, then the last ``u`` reviews, taken as a random sample of what was left before them, would
    hold at most the ``k`` that were found with the probability of a hypergeometric distribution.
    The least over the windows ``u`` counts. That the list is ranked makes it pessimistic.

    Args:
        errors: Which reviews found an error, in their order, shape ``(n,)``.
        num_ranked: Length of the list, N.
        recall: The share of the errors that is wished.
        most_windows: So many windows are looked at, W; all take ``O(W n)``.

    Returns:
        A probability; below ``1 - confidence`` the review may stop. 1 before the first error.
    """
    from scipy.stats import hypergeom

    count, found = len(errors), int(errors.sum())
    if not found:
        return 1.0
    windows = np.unique(np.linspace(1, count, min(count, most_windows)).astype(np.int64))
    before = np.concatenate([[0], np.cumsum(errors)])
    in_window = found - before[count - windows]
    left = num_ranked - (count - windows)
    missing = math.floor(found / recall + 1) - (found - in_window)
    # More errors than examples cannot be left: then the wish is reached for certain.
    if (missing > left).any():
        return 0.0
    return float(hypergeom.cdf(in_window, left, missing, windows).min())


def forecast_stop(errors: Flags, num_ranked: int, goal: Goal) -> Judged:
    """Return whether CMH would stop, and about when if the list goes on as it has.

    How the share of errors falls along the list is a logistic regression on the logarithm of the
    place, which is a forecast and no part of the promise.

    Args:
        errors: Which reviews found an error, in their order, shape ``(n,)``.
        num_ranked: Length of the list, N.
        goal: What is promised.
    """
    count = len(errors)
    rest = num_ranked - count
    is_met = compute_cmh(errors, num_ranked, goal.recall) < 1 - goal.confidence
    if count < LEAST_REVIEWS or errors.sum() < LEAST_FOUND or rest <= 0:
        return Judged(is_met or rest <= 0, 0 if is_met or rest <= 0 else None, None)
    rates = _forecast_rates(errors, num_ranked)
    left = float(rates.sum())
    if is_met:
        return Judged(True, 0, left)
    # Expected errors come where their running sum passes a whole number.
    coming = np.diff(np.floor(np.concatenate([[0.0], np.cumsum(rates)]) + 0.5)) > 0
    low, high = 0, rest  # not met at `low`; met at `high`, where nothing is left
    for step in np.unique(np.geomspace(1, rest, min(rest, _STEPS)).astype(int)).tolist():
        if _is_met_after(errors, coming, step, num_ranked, goal):
            high = step
            break
        low = step
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        if _is_met_after(errors, coming, middle, num_ranked, goal):
            high = middle
        else:
            low = middle
    return Judged(False, high, left)


def _is_met_after(errors: Flags, coming: Flags, step: int, num_ranked: int, goal: Goal) -> bool:
    known = np.concatenate([errors, coming[:step]])
    chance = compute_cmh(known, num_ranked, goal.recall, _FEW_WINDOWS)
    return chance < 1 - goal.confidence


def _forecast_rates(errors: Flags, num_ranked: int) -> npt.NDArray[np.float64]:
    """Return how probable an error is at each place that was not reviewed."""
    from sklearn.linear_model import LogisticRegression

    count = len(errors)
    if errors.all():
        return np.ones(num_ranked - count)
    places = np.arange(1, num_ranked + 1)
    # Falling as a power of the place, or by a constant factor: what fits better so far.
    best: tuple[float, npt.NDArray[np.float64]] | None = None
    for feature in (np.log(places), places / count):
        rows = feature[:, None]
        model: Any = LogisticRegression(C=10.0).fit(rows[:count], errors)
        if model.coef_[0, 0] > 0:
            continue  # of a list that seems to grow worse too little is known
        rates = model.predict_proba(rows)[:, 1]
        fit = float(np.log(np.where(errors, rates[:count], 1 - rates[:count])).sum())
        if best is None or fit > best[0]:
            best = (fit, rates[count:])
    return np.full(num_ranked - count, float(errors.mean())) if best is None else best[1]


def _bound_left(
    audit: Audit | None, items: Sequence[AuditItem], classes: Sequence[str], found: int
) -> tuple[float | None, float | None, float | None] | None:
    """Return about how many errors are left, by an audit; None without answers to one."""
    if audit is None:
        return None
    noise = estimate_noise(audit, items, classes)
    if not noise.num_audited:
        return None
    total = audit.num_examples
    rate, low, high = (max(0.0, one * total - found) for one in (noise.rate, noise.low, noise.high))
    return rate, low, high


def _describe(
    *,
    rule: Rule,
    goal: Goal,
    is_met: bool,
    more: int | None,
    num_reviewed: int,
    num_found: int,
    num_ranked: int,
    left: tuple[float | None, float | None, float | None],
) -> StopState:
    wish = f"{goal.confidence:.0%} confidence for {goal.recall:.0%} of the errors"
    if is_met:
        sentence = f"You may stop: at {wish}, this list has been reviewed far enough."
    elif more is None:
        sentence = (
            f"Too early to say when to stop: {counted(LEAST_REVIEWS, 'decision')} with "
            f"{LEAST_FOUND} errors among them tell, at {wish}."
        )
    else:
        sentence = f"About {_round(more):,} more of this list, at {wish}."
    return StopState(
        rule=rule,
        goal=goal,
        is_met=is_met,
        num_reviewed=num_reviewed,
        num_found=num_found,
        num_ranked=num_ranked,
        more=more,
        errors_left=left[0],
        errors_left_low=left[1],
        errors_left_high=left[2],
        sentence=sentence,
        promise=_PROMISES[rule].format(
            recall=f"{goal.recall:.0%}",
            confidence=f"{goal.confidence:.0%}",
            missed=f"{1 - goal.confidence:.0%}",
        ),
    )


def _round(count: int) -> int:
    """Return a count as exact as a forecast is: two digits."""
    digits = max(0, len(str(count)) - 2)
    return int(round(count, -digits))


_PROMISES: Mapping[Rule, str] = {
    "cmh": (
        "Promised once it is met: were fewer than {recall} of the errors found, so few among the "
        "last ones reviewed would have come about in less than {missed} of the cases (CMH, by the "
        "order of the reviews alone). How many more it takes is a forecast and not promised. Nor "
        "is that every answer was right. It was not made for a list whose end is no better than "
        "chance, and asking it after every answer spends a part of the confidence; a uniform audit "
        "makes a firmer promise."
    ),
    "qbcb": (
        "Promised: where it says that you may stop, at least {recall} of the errors are among what "
        "was reviewed, in {confidence} of all audits that could have been drawn (QBCB, by the part "
        "of the audit that has not taught the order). Not promised: that every answer was right, "
        "or what the rest of the list holds for one class alone. Drawing more items until it is "
        "met spends a part of the confidence."
    ),
}
