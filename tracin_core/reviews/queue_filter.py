"""Which examples of the queue to show: the filter, its conditions, how many pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from tracin_core.reviews.events import DEFERRING, effective, example_says
from tracin_core.reviews.run_rows import RankedRun
from tracin_core.reviews.schema import ExampleRow, PredictionRow, ScoreRow
from tracin_core.reviews.totals import remembered_total


@dataclass(frozen=True)
class QueueFilter:
    """Which examples of the queue to show; all conditions hold together.

    Attributes:
        given_labels: Class indices; empty for all.
        predicted_labels: Class indices; empty for all.
        status: "pending" (not decided yet: unseen or skipped), "reviewed" (the others), "any".
        disagreement_only: Only where the prediction differs from the given label; for
            classification.
        text: Part of the example's text, of a value in its row, of its key, or of a picture's
            place in the data, taken literally.
        given_from: For regression, the least given value, itself included; None for any.
        given_to: The greatest one, itself included; None for any.
    """

    given_labels: tuple[int, ...] = ()
    predicted_labels: tuple[int, ...] = ()
    status: Literal["any", "pending", "reviewed"] = "any"
    disagreement_only: bool = False
    text: str = ""
    given_from: float | None = None
    given_to: float | None = None


def filter_conditions(
    connection: Connection, run: RankedRun, filter: QueueFilter, *, with_status: bool = True
) -> list[ColumnElement[bool]]:
    """Return the filter as conditions on a row of `score`.

    Each is an EXISTS, not a join: a planner may turn a join round and walk the examples, which
    means sorting them all for one page.
    """
    conditions: list[ColumnElement[bool]] = []
    of_example: list[ColumnElement[bool]] = []
    if filter.given_labels:
        of_example.append(ExampleRow.given_label.in_(_labels(filter.given_labels)))
    if filter.text:
        of_example.append(example_says(connection, filter.text))
    if filter.given_from is not None:
        of_example.append(ExampleRow.given_value >= float(filter.given_from))
    if filter.given_to is not None:
        of_example.append(ExampleRow.given_value <= float(filter.given_to))
    if of_example:
        conditions.append(exists().where(ExampleRow.id == ScoreRow.example_id, *of_example))
    if filter.predicted_labels or filter.disagreement_only:
        conditions.append(_prediction_condition(run, filter))
    if with_status and filter.status == "reviewed":
        conditions.append(is_reviewed())
    if with_status and filter.status == "pending":
        conditions.append(~is_reviewed())
    return conditions


def _prediction_condition(run: RankedRun, filter: QueueFilter) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = [
        PredictionRow.scoring_id == run.scoring_id,
        PredictionRow.example_id == ScoreRow.example_id,
    ]
    if filter.predicted_labels:
        parts.append(PredictionRow.predicted_label.in_(_labels(filter.predicted_labels)))
    if filter.disagreement_only:
        parts.append(
            exists().where(
                ExampleRow.id == PredictionRow.example_id,
                ExampleRow.given_label != PredictionRow.predicted_label,
            )
        )
    return exists().where(and_(*parts))


def _labels(labels: tuple[int, ...]) -> list[int]:
    """Return the labels that a database can compare; others, from a bad address, match nothing."""
    return [int(label) for label in labels if 0 <= label < 2**31]


def is_decided() -> ColumnElement[bool]:
    """Return the condition that an effective decision exists, a skip included."""
    return exists().where(effective.c.example_id == ScoreRow.example_id)


def is_reviewed() -> ColumnElement[bool]:
    """Return the condition that an effective decision other than a skip exists."""
    return exists().where(
        effective.c.example_id == ScoreRow.example_id, effective.c.action.not_in(DEFERRING)
    )


def count_passing(connection: Connection, run: RankedRun, signal: str, filter: QueueFilter) -> int:
    """Return how many examples pass the filter; see `tracin_core.reviews.totals`."""
    of_data = replace(filter, status="any")
    conditions = filter_conditions(connection, run, of_data)
    ranking = select(func.count()).where(
        ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == signal
    )
    total = run.num_ranked
    if conditions:
        key = (connection.engine.url, run.scoring_id, run.created_at, of_data)
        query = ranking.where(*conditions)
        total = remembered_total(key, lambda: connection.scalars(query).one())
    if filter.status == "any":
        return total
    # From the decisions: an outer join, so that no planner turns it round.
    reviewed = connection.scalars(
        select(func.count(ScoreRow.example_id))
        .select_from(effective)
        .join(
            ScoreRow,
            and_(
                ScoreRow.scoring_id == run.scoring_id,
                ScoreRow.signal == signal,
                ScoreRow.example_id == effective.c.example_id,
            ),
            isouter=True,
        )
        .where(
            effective.c.project_id == run.project_id,
            effective.c.action.not_in(DEFERRING),
            *conditions,
        )
    ).one()
    return reviewed if filter.status == "reviewed" else total - reviewed
