"""What the review has brought: errors found by rank, decisions an hour, flows of labels.

All numbers come from sums that the database makes, over the decisions in force and not over the
examples, so that they are there at once for a million examples, too. An error that was found is an
example whose answer was corrected or that was excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Engine, and_, case, func, select

from relabel.db.decisions.kinds import list_codes
from relabel.db.engine import reading
from relabel.db.project_rules import project_in
from relabel.db.runs import run_in
from relabel.db.schema import (
    DEFERRING,
    DecisionRow,
    ExampleRow,
    PredictionRow,
    ReviewerRow,
    ScoreRow,
    effective,
)
from relabel.text import Split

# Seconds after which nobody looks at an example any more: more of a decision's time is a pause.
LONGEST_LOOK = 120.0
STEPS = 100  # points of the curve of errors found
_NOTHING = (0, 0, 0)
PAIRS = 15  # pairs of labels that are listed, by their number


@dataclass(frozen=True)
class FoundByRank:
    """How many errors lay among the first examples of the queue that were reviewed.

    Attributes:
        rank: The least suspect example that counts here; 1 is the most suspect of all.
        reviewed: Decided examples up to this rank.
        found: Errors among them.
    """

    rank: int
    reviewed: int
    found: int


@dataclass(frozen=True)
class Work:
    """What one reviewer has done, or what was done about one class.

    Attributes:
        name: Of the reviewer or the class.
        decided: Train examples decided, by the decision in force.
        corrected: Those among them whose answer was corrected.
        excluded: Those that were excluded.
        total: All train examples of the class; of a reviewer the decisions that were timed.
        seconds: Of looking at examples, pauses cut; of a class 0.
    """

    name: str
    decided: int
    corrected: int
    excluded: int
    total: int
    seconds: float = 0.0

    @property
    def found(self) -> int:
        """Return how many errors were found."""
        return self.corrected + self.excluded

    @property
    def per_hour(self) -> float | None:
        """Return the timed decisions an hour of looking, or None where none was timed."""
        return 3600 * self.total / self.seconds if self.seconds else None


@dataclass(frozen=True)
class Flow:
    """Examples of one given label that have another one, by what is said or was decided.

    Attributes:
        given: Their given label.
        other: The other one.
        count: How many there are.
        left: How many of them are still to be decided; of decisions 0.
    """

    given: int
    other: int
    count: int
    left: int = 0


@dataclass(frozen=True)
class Flows:
    """The most frequent pairs of labels, and the rest.

    Attributes:
        pairs: The most frequent ones, the first first.
        num_rare: How many other pairs there are.
        rare: How many examples those have, together.
    """

    pairs: tuple[Flow, ...]
    num_rare: int = 0
    rare: int = 0


def _found() -> ColumnElement[int]:
    is_error = effective.c.action.in_(list_codes("correct", "exclude"))
    return func.coalesce(func.sum(case((is_error, 1), else_=0)), 0)


def _count_of(*effects: str) -> ColumnElement[int]:
    codes = list_codes(*effects)  # type: ignore[arg-type]  # of `Effect`
    return func.coalesce(func.sum(case((effective.c.action.in_(codes), 1), else_=0)), 0)


def errors_by_rank(engine: Engine, run_id: int, signal: str) -> list[FoundByRank]:
    """Return how many errors the first of the reviewed examples hold, for growing ranks.

    Args:
        engine: The database.
        run_id: The run that ranks.
        signal: By which of its signals.

    Returns:
        At most about ``STEPS`` points, the last one with all that was reviewed; none where nothing
        was.

    Raises:
        NotFoundError: If there is no such run.
    """
    with reading(engine) as connection:
        run = run_in(connection, run_id)
        is_ranked = and_(
            ScoreRow.scoring_id == run.scoring_id,
            ScoreRow.signal == signal,
            ScoreRow.example_id == effective.c.example_id,
        )
        is_decided = (
            effective.c.project_id == run.project_id,
            effective.c.action.not_in(DEFERRING),
        )
        ranked = select(func.max(ScoreRow.rank)).select_from(effective).join(ScoreRow, is_ranked)
        last = connection.scalar(ranked.where(*is_decided))
        if last is None:
            return []
        width = -(-last // STEPS)
        step = (ScoreRow.rank - 1) // width
        rows = connection.execute(
            select(step, func.max(ScoreRow.rank), func.count(), _found())
            .select_from(effective)
            .join(ScoreRow, is_ranked)
            .where(*is_decided)
            .group_by(step)
            .order_by(step)
        ).all()
    points, reviewed, found = [], 0, 0
    for _, rank, count, errors in rows:
        reviewed, found = reviewed + count, found + errors
        points.append(FoundByRank(rank, reviewed, found))
    return points


def work_by_reviewer(engine: Engine, project_id: int) -> list[Work]:
    """Return what each reviewer has done, the busiest first.

    The time of a decision is that from when the example stood on the screen; more than
    ``LONGEST_LOOK`` seconds of it count as a pause.
    """
    seconds = case(
        (DecisionRow.seconds_spent > LONGEST_LOOK, LONGEST_LOOK), else_=DecisionRow.seconds_spent
    )
    with reading(engine) as connection:
        timed = {
            name: (count, float(total or 0.0))
            for name, count, total in connection.execute(
                select(ReviewerRow.name, func.count(DecisionRow.seconds_spent), func.sum(seconds))
                .join(DecisionRow, DecisionRow.reviewer_id == ReviewerRow.id)
                .where(
                    DecisionRow.project_id == project_id,
                    DecisionRow.action.not_in(list_codes("undo")),
                    DecisionRow.seconds_spent > 0,
                )
                .group_by(ReviewerRow.name)
            )
        }
        rows = connection.execute(
            select(ReviewerRow.name, func.count(), _count_of("correct"), _count_of("exclude"))
            .select_from(effective)
            .join(ReviewerRow, ReviewerRow.id == effective.c.reviewer_id)
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .where(
                effective.c.project_id == project_id,
                effective.c.action.not_in(DEFERRING),
                ExampleRow.split == "train",
            )
            .group_by(ReviewerRow.name)
        ).all()
    done = {name: (decided, corrected, excluded) for name, decided, corrected, excluded in rows}
    names = sorted({*done, *timed}, key=lambda name: (-done.get(name, _NOTHING)[0], name))
    return [Work(name, *done.get(name, _NOTHING), *timed.get(name, (0, 0.0))) for name in names]


def work_by_class(engine: Engine, project_id: int) -> list[Work]:
    """Return what was decided about the train examples of each given label, in their order."""
    is_train = (ExampleRow.project_id == project_id, ExampleRow.split == "train")
    with reading(engine) as connection:
        classes = project_in(connection, project_id).classes
        totals = connection.execute(
            select(ExampleRow.given_label, func.count())
            .where(*is_train)
            .group_by(ExampleRow.given_label)
        ).all()
        rows = connection.execute(
            select(ExampleRow.given_label, func.count(), _count_of("correct"), _count_of("exclude"))
            .select_from(effective)
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .where(
                effective.c.project_id == project_id,
                effective.c.action.not_in(DEFERRING),
                ExampleRow.split == "train",
            )
            .group_by(ExampleRow.given_label)
        ).all()
    done = {label: (decided, corrected, excluded) for label, decided, corrected, excluded in rows}
    size = {label: count for label, count in totals}  # noqa: C416  # of rows, which are no pairs
    return [
        Work(name, *done.get(label, _NOTHING), size.get(label, 0))
        for label, name in enumerate(classes)
    ]


def corrected_flows(engine: Engine, project_id: int, limit: int = PAIRS) -> Flows:
    """Return which given labels became which others by decisions in force, train split."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(ExampleRow.given_label, effective.c.new_label, func.count())
            .select_from(effective)
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .where(
                effective.c.project_id == project_id,
                effective.c.action.in_(list_codes("correct")),
                effective.c.new_label.is_not(None),
                effective.c.new_label != ExampleRow.given_label,
                ExampleRow.split == "train",
            )
            .group_by(ExampleRow.given_label, effective.c.new_label)
        ).all()
    return _cut([Flow(*row) for row in rows], limit)


def disputed_pairs(
    engine: Engine,
    run_id: int,
    counts: NDArray[np.int64],
    *,
    suggested: bool,
    split: Split = "train",
    limit: int = PAIRS,
) -> Flows:
    """Return which given labels are contradicted most, by which others.

    Args:
        engine: The database.
        run_id: The run.
        counts: Given by other labels, shape ``(K, K)``, as `label_confusion` returns them. They
            stay for as long as the run does; what is decided about them is asked here.
        suggested: Whether by models that have not seen the example; else by the run's network.
        split: Of the examples.
        limit: So many pairs are listed.

    Raises:
        NotFoundError: If there is no such run.
    """
    said = PredictionRow.suggested_label if suggested else PredictionRow.predicted_label
    with reading(engine) as connection:
        run = run_in(connection, run_id)
        is_said = and_(
            PredictionRow.example_id == effective.c.example_id,
            PredictionRow.scoring_id == run.scoring_id,
        )
        # From the decisions, which are few beside the examples: outer joins, so that no planner
        # turns them round.
        rows = connection.execute(
            select(ExampleRow.given_label, said, func.count())
            .select_from(effective)
            .join(ExampleRow, ExampleRow.id == effective.c.example_id, isouter=True)
            .join(PredictionRow, is_said, isouter=True)
            .where(
                effective.c.project_id == run.project_id,
                effective.c.action.not_in(DEFERRING),
                ExampleRow.split == split,
            )
            .group_by(ExampleRow.given_label, said)
        )
        done = {(given, other): count for given, other, count in rows}
    pairs = np.argwhere(counts).tolist()
    return _cut(
        [
            Flow(given, other, int(counts[given, other]), left)
            for given, other in pairs
            if given != other
            for left in [int(counts[given, other]) - done.get((given, other), 0)]
        ],
        limit,
    )


def _cut(flows: Sequence[Flow], limit: int) -> Flows:
    ordered = sorted(flows, key=lambda one: (-one.count, one.given, one.other))
    rest = ordered[limit:]
    return Flows(tuple(ordered[:limit]), len(rest), sum(one.count for one in rest))
