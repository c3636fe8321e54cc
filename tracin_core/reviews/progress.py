"""Counts: how far the review is, how the classes are filled, what the model mixes up."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, func, select

from tracin_core.reviews.database import reading
from tracin_core.reviews.decision_kinds import PENDING, list_codes
from tracin_core.reviews.events import DEFERRING, STATE_OF_ACTION, STATUSES, UNDECIDED, effective
from tracin_core.reviews.project_rows import project_in
from tracin_core.reviews.run_rows import run_in
from tracin_core.reviews.schema import DecisionRow, ExampleRow, PredictionRow, ReviewerRow


@dataclass(frozen=True)
class Progress:
    """How far the review of a project's train split is.

    Attributes:
        total: Train examples.
        by_status: Train examples in each state; all states are there, and they sum to `total`.
        decisions: Decisions made in the project, undone ones and both splits included, undos not.
        reviewers: Name to number of decisions, the busiest first.
        seconds_median: Median seconds spent on a decision, or None where none was timed.
    """

    total: int
    by_status: dict[str, int]
    decisions: int
    reviewers: dict[str, int]
    seconds_median: float | None

    @property
    def reviewed(self) -> int:
        """Return how many train examples are decided; skipped ones are not."""
        return self.total - sum(self.by_status[status] for status in UNDECIDED)


@dataclass(frozen=True)
class ClassCount:
    """Examples of one class in one split.

    Attributes:
        given: By given label.
        current: By current label, without the excluded ones.
    """

    split: str
    label: int
    name: str
    given: int
    current: int


def review_progress(engine: Engine, project_id: int) -> Progress:
    """Return how far the review of a project is."""
    with reading(engine) as connection:
        total = connection.scalars(
            select(func.count()).where(
                ExampleRow.project_id == project_id, ExampleRow.split == "train"
            )
        ).one()
        found = connection.execute(
            select(effective.c.action, func.count())
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .where(effective.c.project_id == project_id, ExampleRow.split == "train")
            .group_by(effective.c.action)
        )
        by_status: dict[str, int] = dict.fromkeys(STATUSES, 0)
        by_status.update((STATE_OF_ACTION[action], count) for action, count in found)
        by_status[PENDING] = total - sum(by_status.values())
        made = (
            select(ReviewerRow.name, DecisionRow.seconds_spent)
            .join(DecisionRow, DecisionRow.reviewer_id == ReviewerRow.id)
            .where(
                DecisionRow.project_id == project_id, DecisionRow.action.not_in(list_codes("undo"))
            )
        )
        rows = connection.execute(made).all()
    reviewers: dict[str, int] = {}
    for row in rows:
        reviewers[row.name] = reviewers.get(row.name, 0) + 1
    seconds = [row.seconds_spent for row in rows if row.seconds_spent is not None]
    return Progress(
        total=total,
        by_status=by_status,
        decisions=len(rows),
        reviewers=dict(sorted(reviewers.items(), key=lambda item: (-item[1], item[0]))),
        seconds_median=median(seconds) if seconds else None,
    )


def count_reviewed(engine: Engine, project_id: int) -> tuple[int, int]:
    """Return how many train examples are decided, and how many there are; see `Progress`.

    One statement, for what is drawn after every decision.
    """
    is_train = (ExampleRow.project_id == project_id, ExampleRow.split == "train")
    decided = (
        select(func.count())
        .select_from(effective)
        .join(ExampleRow, ExampleRow.id == effective.c.example_id)
        .where(
            effective.c.project_id == project_id, effective.c.action.not_in(DEFERRING), *is_train
        )
    )
    total = select(func.count()).where(*is_train)
    with reading(engine) as connection:
        row = connection.execute(select(decided.scalar_subquery(), total.scalar_subquery())).one()
    return row[0], row[1]


def class_balance(engine: Engine, project_id: int) -> list[ClassCount]:
    """Return the examples of each class, train split first, classes in their order.

    For regression, which has none, there are no counts.

    Raises:
        NotFoundError: If there is no such project.
    """
    with reading(engine) as connection:
        classes = project_in(connection, project_id).classes
        if not classes:
            return []
        given = {
            (split, label): count
            for split, label, count in connection.execute(
                select(ExampleRow.split, ExampleRow.given_label, func.count())
                .where(ExampleRow.project_id == project_id)
                .group_by(ExampleRow.split, ExampleRow.given_label)
            )
        }
        # Only what decisions moved: a handful beside all examples.
        current = dict(given)
        moved = connection.execute(
            select(
                ExampleRow.split,
                ExampleRow.given_label,
                effective.c.action,
                effective.c.new_label,
                func.count(),
            )
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .where(
                effective.c.project_id == project_id,
                effective.c.action.in_(list_codes("correct", "exclude")),
            )
            .group_by(
                ExampleRow.split, ExampleRow.given_label, effective.c.action, effective.c.new_label
            )
        )
        for split, label, action, new_label, count in moved:
            current[split, label] -= count
            if action in list_codes("correct"):
                current[split, new_label] = current.get((split, new_label), 0) + count
    splits = [split for split in ("train", "test") if any(key[0] == split for key in given)]
    return [
        ClassCount(split, label, name, given.get((split, label), 0), current.get((split, label), 0))
        for split in splits
        for label, name in enumerate(classes)
    ]


def label_confusion(engine: Engine, run_id: int, split: str) -> NDArray[np.int64]:
    """Return counts of given (rows) by predicted label (columns), shape ``(K, K)``.

    For regression K is 0.

    Raises:
        NotFoundError: If there is no such run.
    """
    with reading(engine) as connection:
        run = run_in(connection, run_id)
        num_classes = len(project_in(connection, run.project_id).classes)
        counts = np.zeros((num_classes, num_classes), dtype=np.int64)
        rows = connection.execute(
            select(ExampleRow.given_label, PredictionRow.predicted_label, func.count())
            .join(PredictionRow, PredictionRow.example_id == ExampleRow.id)
            .where(
                PredictionRow.scoring_id == run.scoring_id,
                PredictionRow.predicted_label.is_not(None),
                ExampleRow.split == split,
            )
            .group_by(ExampleRow.given_label, PredictionRow.predicted_label)
        )
        for given, predicted, count in rows:
            counts[given, predicted] = count
    return counts
