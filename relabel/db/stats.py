"""Statistics of a project: progress of the review, class balance, confusion, spread of values.

All are computed from the examples and the decisions in force; for regression the numbers as they
were given and as they are now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Engine, case, func, select

from relabel.db.decisions.kinds import PENDING, list_codes, list_states
from relabel.db.engine import reading
from relabel.db.label_counts import read_label_pairs
from relabel.db.project_rules import project_in
from relabel.db.runs import run_in
from relabel.db.schema import (
    DEFERRING,
    STATE_OF_ACTION,
    STATUSES,
    UNDECIDED,
    DecisionRow,
    ExampleRow,
    PredictionRow,
    ReviewerRow,
    effective,
    status_of_example,
    value_of_example,
)
from relabel.text import Split


@dataclass(frozen=True)
class ReviewProgress:
    """How far the review of a split of a project is; each split is counted by itself.

    Attributes:
        total: Examples of the split.
        by_status: Its examples in each state; all states are there, and they sum to `total`.
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
        """Return how many of its examples are decided; skipped ones are not."""
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


def review_progress(engine: Engine, project_id: int, split: Split = "train") -> ReviewProgress:
    """Return how far the review of a split of a project is."""
    with reading(engine) as connection:
        total = connection.scalars(
            select(func.count()).where(
                ExampleRow.project_id == project_id, ExampleRow.split == split
            )
        ).one()
        found = connection.execute(
            select(effective.c.action, func.count())
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .where(effective.c.project_id == project_id, ExampleRow.split == split)
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
    return ReviewProgress(
        total=total,
        by_status=by_status,
        decisions=len(rows),
        reviewers=dict(sorted(reviewers.items(), key=lambda item: (-item[1], item[0]))),
        seconds_median=median(seconds) if seconds else None,
    )


def count_reviewed(engine: Engine, project_id: int, split: Split = "train") -> tuple[int, int]:
    """Return how many examples of a split are decided, and how many it has; see `ReviewProgress`.

    One statement, for what is drawn after every decision.
    """
    of_split = (ExampleRow.project_id == project_id, ExampleRow.split == split)
    decided = (
        select(func.count())
        .select_from(effective)
        .join(ExampleRow, ExampleRow.id == effective.c.example_id)
        .where(
            effective.c.project_id == project_id, effective.c.action.not_in(DEFERRING), *of_split
        )
    )
    total = select(func.count()).where(*of_split)
    with reading(engine) as connection:
        row = connection.execute(select(decided.scalar_subquery(), total.scalar_subquery())).one()
    return row[0], row[1]


@dataclass(frozen=True)
class MeasuredFit:
    """How well a run's predictions fit the test examples, before and after their review.

    Attributes:
        by_given: Share of the test examples whose given label is predicted, 0 to 1; for regression
            the root of the mean squared error, in the number's own unit.
        by_current: The same by the labels after all decisions, without the excluded examples.
        reviewed: Test examples that are decided; corrected: those of them with another answer now,
            or taken out.
        total: Test examples with a prediction.
    """

    by_given: float
    by_current: float
    reviewed: int
    corrected: int
    total: int


def measure_test(engine: Engine, run_id: int) -> MeasuredFit | None:
    """Return how well a run fits the test examples; None where it predicts none.

    Raises:
        NotFoundError: If there is no such run.
    """
    with reading(engine) as connection:
        run = run_in(connection, run_id)
        is_regression = project_in(connection, run.project_id).task == "regression"
        said = PredictionRow.predicted_value if is_regression else PredictionRow.predicted_label
        given = ExampleRow.given_value if is_regression else ExampleRow.given_label
        new = effective.c.new_value if is_regression else effective.c.new_label
        scored = (PredictionRow.scoring_id == run.scoring_id, ExampleRow.split == "test")
        join = PredictionRow.example_id == ExampleRow.id
        pairs = read_label_pairs(connection, run.scoring_id, "test", suggested=False)
        if pairs is not None and not is_regression:
            total = sum(count for _, _, count in pairs)
            fit = sum(count for label, predicted, count in pairs if label == predicted)
        else:
            all_of_them = select(func.count(), func.sum(_fit(said, given, is_regression)))
            total, fit = connection.execute(
                all_of_them.select_from(ExampleRow).join(PredictionRow, join).where(*scored)
            ).one()
        # Only what decisions moved, from the decisions: a handful beside all examples.
        decided = connection.execute(
            select(effective.c.action, said, given, new)
            .select_from(effective)
            .join(ExampleRow, ExampleRow.id == effective.c.example_id)
            .join(PredictionRow, join)
            .where(
                effective.c.project_id == run.project_id,
                effective.c.action.not_in(DEFERRING),
                *scored,
            )
        ).all()
    if not total:
        return None
    moved, left, corrected = float(fit), int(total), 0
    for action, predicted, before, after in decided:
        is_out = action in list_codes("exclude")
        if not is_out and after is None:
            continue
        corrected += 1
        left -= is_out
        moved -= _measure_fit(predicted, before, is_regression)
        moved += 0.0 if is_out else _measure_fit(predicted, after, is_regression)
    shares = float(fit) / total, moved / left if left else 0.0
    by_given, by_current = (max(0.0, one) ** 0.5 if is_regression else one for one in shares)
    return MeasuredFit(by_given, by_current, len(decided), corrected, total)


def _fit(said: Any, given: Any, is_regression: bool) -> ColumnElement[Any]:
    """Return in SQL what `_measure_fit` computes."""
    squared: ColumnElement[Any] = (said - given) * (said - given)
    return squared if is_regression else case((said == given, 1.0), else_=0.0)


def _measure_fit(said: float, answer: float, is_regression: bool) -> float:
    """Return the squared error of a number; of a label 1 where it is the predicted one, or 0."""
    return (said - answer) ** 2 if is_regression else float(said == answer)


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
        # A split at a time, which an index answers: of a million examples, both at once took 7 s.
        given = {
            (split, label): count
            for split in ("train", "test")
            for label, count in connection.execute(
                select(ExampleRow.given_label, func.count())
                .where(ExampleRow.project_id == project_id, ExampleRow.split == split)
                .group_by(ExampleRow.given_label)
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


def label_confusion(
    engine: Engine, run_id: int, split: str, *, suggested: bool = False
) -> NDArray[np.int64]:
    """Return counts of given (rows) by predicted label (columns), shape ``(K, K)``.

    Args:
        engine: The database.
        run_id: The run that predicted.
        split: Of the examples.
        suggested: Whether the labels are meant that models say which have not seen the example;
            of a run that asked none all counts are 0.

    Returns:
        The counts; for regression K is 0.

    Raises:
        NotFoundError: If there is no such run.
    """
    with reading(engine) as connection:
        run = run_in(connection, run_id)
        num_classes = len(project_in(connection, run.project_id).classes)
        counts = np.zeros((num_classes, num_classes), dtype=np.int64)
        rows: Iterable[Any] | None = read_label_pairs(
            connection, run.scoring_id, split, suggested=suggested
        )
        if rows is None:  # restored, or of numbers
            said = PredictionRow.suggested_label if suggested else PredictionRow.predicted_label
            rows = connection.execute(
                select(ExampleRow.given_label, said, func.count())
                .join(PredictionRow, PredictionRow.example_id == ExampleRow.id)
                .where(
                    PredictionRow.scoring_id == run.scoring_id,
                    said.is_not(None),
                    ExampleRow.split == split,
                )
                .group_by(ExampleRow.given_label, said)
            )
        for given, predicted, count in rows:
            counts[given, predicted] = count
    return counts


BINS = 40
# Widths of the middle 90% of the numbers that a chart shows on each side of it. A lognormal tail of
# house prices or incomes stays within, a stand-in of 1e9 does not.
FAR = 5.0
LARGEST = float(np.finfo(np.float64).max)
# Rows held in memory at a time.
CHUNK = 10_000


@dataclass(frozen=True)
class ValueDistribution:
    """How some numbers lie; all in the unit of the data.

    Attributes:
        count: How many there are.
        minimum: The least; None where there is none, as for the rest.
        lower_quartile: The least of which a quarter of the numbers are not greater.
        median: The same for half of them.
        upper_quartile: The same for three quarters.
        maximum: The greatest.
        histogram: How many lie between neighbouring edges of the `ValueSummary`.
    """

    count: int
    minimum: float | None
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None
    maximum: float | None
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class ValueSummary:
    """The numbers of one split.

    Attributes:
        given: As the data has them.
        current: After all decisions, without the excluded examples.
        edges: Of the bins of both histograms, one more than bins; a bin holds its left edge, the
            last one its right edge too. Empty where there are no numbers. A few numbers far from
            all others lie beyond them: they would leave all others in one bin.
        beyond: How many of the given numbers lie outside the edges.
    """

    given: ValueDistribution
    current: ValueDistribution
    edges: tuple[float, ...]
    beyond: int = 0


def value_summary(
    engine: Engine, project_id: int, split: Split = "train", *, bins: int = BINS
) -> ValueSummary:
    """Summarise the numbers of a project's split; for classification there are none.

    Args:
        engine: The database.
        project_id: The project.
        split: "train" or "test".
        bins: Bars of the histograms, over the range of all given and current numbers.

    Raises:
        NotFoundError: If there is no such project.
    """
    given, current = _read_values(engine, project_id, split)
    both = np.concatenate([given, current])
    low, high = find_span(both)
    edges = _edges(np.clip(both, low, high), bins) if both.size else np.empty(0)
    return ValueSummary(
        _describe(given, edges),
        _describe(current, edges),
        tuple(map(float, edges.tolist())),
        beyond=int(((given < low) | (given > high)).sum()),
    )


def find_span(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the greatest number that a chart of some numbers should reach to.

    All of them, except where a few lie so far away that nothing of the others could be told apart:
    farther from the middle 90% than ``FAR`` times its width.

    Args:
        values: Finite numbers, shape ``(N,)``.
    """
    if not values.size:
        return 0.0, 0.0
    # Numbers of the data, as in `_describe`. Halves, because the width of all floats overflows.
    low, high = np.quantile(values, [0.05, 0.95], method="inverted_cdf").tolist()
    half = high / 2 - low / 2
    if half == 0:
        return float(values.min()), float(values.max())
    near = np.abs(values / 2 - (low / 4 + high / 4)) <= (0.5 + FAR) * half
    return float(values[near].min()), float(values[near].max())


def median_error(engine: Engine, run_id: int, split: Split = "test") -> float | None:
    """Return the median distance of the given numbers from the predicted ones, in their unit.

    Half of the examples lie nearer; a few wild numbers change nothing.

    Args:
        engine: The database.
        run_id: The run that predicted.
        split: Of the examples.

    Returns:
        The distance; None where there is none, as for a classification.

    Raises:
        NotFoundError: If there is no such run.
    """
    with reading(engine) as connection:
        run = run_in(connection, run_id)
        rows = connection.execute(
            select(ExampleRow.given_value, PredictionRow.predicted_value)
            .join(PredictionRow, PredictionRow.example_id == ExampleRow.id)
            .where(
                PredictionRow.scoring_id == run.scoring_id,
                PredictionRow.predicted_value.is_not(None),
                ExampleRow.given_value.is_not(None),
                ExampleRow.split == split,
            )
            .execution_options(yield_per=CHUNK)
        )
        parts = [np.array([tuple(row) for row in some]) for some in rows.partitions()]
    if not parts:
        return None
    both = np.concatenate(parts).astype(np.float64)
    # Halves, because the distance of two huge numbers overflows.
    return float(min(2 * np.median(np.abs(both[:, 0] / 2 - both[:, 1] / 2)), LARGEST))


def _read_values(
    engine: Engine, project_id: int, split: Split
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the given and the current values, each of shape ``(N,)``, 8 bytes a value."""
    query = (
        select(
            ExampleRow.given_value,
            value_of_example.label("value"),
            status_of_example.in_(list_states("exclude")).label("excluded"),
        )
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .where(
            ExampleRow.project_id == project_id,
            ExampleRow.split == split,
            ExampleRow.given_value.is_not(None),
        )
    )
    given, current = [np.empty(0)], [np.empty(0)]
    with reading(engine) as connection:
        project_in(connection, project_id)
        result = connection.execute(query.execution_options(yield_per=CHUNK))
        for rows in result.partitions():
            given.append(np.array([row.given_value for row in rows], dtype=np.float64))
            kept = [row.value for row in rows if not row.excluded]
            current.append(np.array(kept, dtype=np.float64))
    return np.concatenate(given), np.concatenate(current)


def _edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return edges over the range of the values, which may be one point or nearly all floats."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        room = 0.5 * max(1.0, abs(low))
        low, high = max(low - room, -LARGEST), min(high + room, LARGEST)
    shares = np.linspace(0.0, 1.0, bins + 1)
    # Not `low + share * (high - low)`: of two huge numbers the difference may overflow.
    edges = np.maximum.accumulate((1.0 - shares) * low + shares * high)
    edges[0], edges[-1] = low, high
    return edges


def _describe(values: NDArray[np.float64], edges: NDArray[np.float64]) -> ValueDistribution:
    if not values.size:
        nothing = (0,) * max(0, len(edges) - 1)
        return ValueDistribution(0, None, None, None, None, None, nothing)
    # Numbers of the data, none between them: nobody has to explain a price that nobody paid.
    quarters = np.quantile(values, [0, 0.25, 0.5, 0.75, 1], method="inverted_cdf")
    least, lower, middle, upper, greatest = quarters.tolist()
    # Two tiny neighbouring numbers may leave edges that are equal, which np.histogram refuses.
    shown = values[(values >= edges[0]) & (values <= edges[-1])]
    places = np.clip(np.searchsorted(edges, shown, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(places, minlength=len(edges) - 1)
    return ValueDistribution(
        count=values.size,
        minimum=least,
        lower_quartile=lower,
        median=middle,
        upper_quartile=upper,
        maximum=greatest,
        histogram=tuple(counts.tolist()),
    )
