"""The queue: train examples by how suspect they are, filtered, a page at a time.

A page is found in two steps. The first walks the ranking, which is stored in its own order, and
tests each example by probes of indices; the second fetches what the screen shows, for the rows
of the page only. Without a filter the page number alone gives the ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, exists, func, select

from tracin_core.errors import InputError, NotFoundError
from tracin_core.reviews.database import reading
from tracin_core.reviews.events import contains, effective
from tracin_core.reviews.examples import load_views, percentile_of
from tracin_core.reviews.registration import Run, run_in
from tracin_core.reviews.schema import ExampleRow, PredictionRow, ScoreRow
from tracin_core.reviews.totals import remembered_total

SIGNALS: dict[str, str] = {
    "self_influence": "Self-influence (last layer)",
    "self_influence_all": "Self-influence (all layers)",
    "self_influence_recorded": "Self-influence (last layer, recorded rates)",
    "mean_loss": "Mean loss",
    "mean_margin": "Mean negative margin",
}
LARGEST_PAGE = 1000  # rows; more than a screen can show


@dataclass(frozen=True)
class QueueFilter:
    """Which examples of the queue to show; all conditions hold together.

    Attributes:
        given_labels: Class indices; empty for all.
        predicted_labels: Class indices; empty for all.
        status: "pending" (not decided yet: unseen or skipped), "reviewed" (the others), "any".
        disagreement_only: Only where the prediction differs from the given label.
        text: Part of the example's text or key, taken literally.
    """

    given_labels: tuple[int, ...] = ()
    predicted_labels: tuple[int, ...] = ()
    status: Literal["any", "pending", "reviewed"] = "any"
    disagreement_only: bool = False
    text: str = ""


@dataclass(frozen=True)
class QueueRow:
    """One example of the queue.

    Attributes:
        rank: 1 is the most suspect; counted in the whole train split, whatever the filter.
        percentile: ``100 * (1 - (rank - 1) / N)``: rank 1 is 100.
        version: Number of the example's events; a decision must name it.
    """

    example_id: int
    position: int
    rank: int
    percentile: float
    score: float
    given_label: int
    predicted_label: int | None
    predicted_probability: float | None
    given_probability: float | None
    status: str
    current_label: int
    text: str | None
    media_path: str | None
    key: str
    version: int


@dataclass(frozen=True)
class QueuePage:
    """Rows of one page, and how many the filter lets through in all."""

    rows: list[QueueRow]
    total: int


def fetch_page(
    engine: Engine,
    run_id: int,
    *,
    signal: str = "self_influence",
    filter: QueueFilter = QueueFilter(),
    page: int = 1,
    page_size: int = 50,
) -> QueuePage:
    """Return one page of the queue, most suspect first; past the end it has no rows.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
        InputError: If the page number or size is impossible.
    """
    if page < 1 or not 1 <= page_size <= LARGEST_PAGE:
        raise InputError(
            f"Found page {page} of {page_size} rows. Expected a page from 1 and 1 to "
            f"{LARGEST_PAGE} rows: go to the first page."
        )
    first = (page - 1) * page_size
    with reading(engine) as connection:
        run = _ranked_run(connection, run_id, signal)
        total = _count(connection, run, signal, filter)
        if first >= total:
            return QueuePage([], total)
        query = _ranking(run, signal).limit(page_size)
        if filter == QueueFilter():
            query = query.where(ScoreRow.rank > first)
        else:
            query = query.where(*_conditions(connection, run, filter)).offset(first)
        return QueuePage(_rows(connection, run, connection.execute(query).all()), total)


def next_suspect(
    engine: Engine,
    run_id: int,
    *,
    signal: str = "self_influence",
    filter: QueueFilter = QueueFilter(),
    after_rank: int | None = None,
) -> QueueRow | None:
    """Return the next example to decide, or None when all is decided.

    Pending ones come first in the order of the queue (after `after_rank`, then those before
    it), then the skipped ones, the longest skipped first.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
    """
    if filter.status == "reviewed":
        return None
    with reading(engine) as connection:
        run = _ranked_run(connection, run_id, signal)
        conditions = _conditions(connection, run, filter, with_status=False)
        pending = _ranking(run, signal).where(~_decided(), *conditions).limit(1)
        queries: list[Select[*tuple[Any, ...]]] = [pending]
        if after_rank is not None:
            queries.insert(0, pending.where(ScoreRow.rank > after_rank))
        queries.append(_skipped(run, signal).where(*conditions).limit(1))
        for query in queries:
            found = connection.execute(query).all()
            if found:
                return _rows(connection, run, found)[0]
    return None


def adjacent(
    engine: Engine,
    run_id: int,
    *,
    signal: str = "self_influence",
    filter: QueueFilter = QueueFilter(),
    example_id: int,
) -> tuple[int | None, int | None]:
    """Return the ids before and after an example in the filtered queue, None at its ends.

    The example itself need not pass the filter. A test example has no rank: its neighbours are
    those by position in its split, whatever the filter.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal, or the example unknown.
    """
    with reading(engine) as connection:
        run = _ranked_run(connection, run_id, signal)
        view = load_views(connection, [example_id], None).get(example_id)
        if view is None:
            raise NotFoundError(f"Found no example with id {example_id}. Open one from the queue.")
        rank = connection.scalar(
            select(ScoreRow.rank).where(
                ScoreRow.run_id == run.id,
                ScoreRow.signal == signal,
                ScoreRow.example_id == example_id,
            )
        )
        if rank is None:
            ids = select(ExampleRow.id).where(
                ExampleRow.project_id == view.project_id, ExampleRow.split == view.split
            )
            place, at = ExampleRow.position, view.position
        else:
            ids = select(ScoreRow.example_id).where(
                ScoreRow.run_id == run.id,
                ScoreRow.signal == signal,
                *_conditions(connection, run, filter),
            )
            place, at = ScoreRow.rank, rank
        before = connection.scalar(ids.where(place < at).order_by(place.desc()).limit(1))
        after = connection.scalar(ids.where(place > at).order_by(place).limit(1))
    return before, after


def _ranked_run(connection: Connection, run_id: int, signal: str) -> Run:
    run = run_in(connection, run_id)
    if signal not in run.signals:
        raise NotFoundError(
            f"Run {run.key!r} is not ranked by {signal!r}. Choose one of: "
            f"{', '.join(run.signals) or 'none: score the project first'}."
        )
    return run


def _ranking(run: Run, signal: str) -> Select[*tuple[Any, ...]]:
    return (
        select(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value)
        .where(ScoreRow.run_id == run.id, ScoreRow.signal == signal)
        .order_by(ScoreRow.rank)
    )


def _skipped(run: Run, signal: str) -> Select[*tuple[Any, ...]]:
    return (
        select(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value)
        .join(effective, effective.c.example_id == ScoreRow.example_id)
        .where(ScoreRow.run_id == run.id, ScoreRow.signal == signal, effective.c.action == "skip")
        .order_by(effective.c.id)
    )


def _conditions(
    connection: Connection, run: Run, filter: QueueFilter, *, with_status: bool = True
) -> list[ColumnElement[bool]]:
    """Return the filter as conditions on a row of `score`.

    Each is an EXISTS, not a join: a planner may turn a join round and walk the examples, which
    means sorting them all for one page.
    """
    conditions: list[ColumnElement[bool]] = []
    of_example: list[ColumnElement[bool]] = []
    if filter.given_labels:
        of_example.append(ExampleRow.given_label.in_(filter.given_labels))
    if filter.text:
        of_example.append(contains(connection, [ExampleRow.text, ExampleRow.key], filter.text))
    if of_example:
        conditions.append(exists().where(ExampleRow.id == ScoreRow.example_id, *of_example))
    if filter.predicted_labels or filter.disagreement_only:
        conditions.append(_prediction_condition(run, filter))
    if with_status and filter.status == "reviewed":
        conditions.append(_reviewed())
    if with_status and filter.status == "pending":
        conditions.append(~_reviewed())
    return conditions


def _prediction_condition(run: Run, filter: QueueFilter) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = [
        PredictionRow.run_id == run.id,
        PredictionRow.example_id == ScoreRow.example_id,
    ]
    if filter.predicted_labels:
        parts.append(PredictionRow.predicted_label.in_(filter.predicted_labels))
    if filter.disagreement_only:
        parts.append(
            exists().where(
                ExampleRow.id == PredictionRow.example_id,
                ExampleRow.given_label != PredictionRow.predicted_label,
            )
        )
    return exists().where(and_(*parts))


def _decided() -> ColumnElement[bool]:
    """Return the condition that an effective decision exists, a skip included."""
    return exists().where(effective.c.example_id == ScoreRow.example_id)


def _reviewed() -> ColumnElement[bool]:
    return exists().where(
        effective.c.example_id == ScoreRow.example_id, effective.c.action != "skip"
    )


def _count(connection: Connection, run: Run, signal: str, filter: QueueFilter) -> int:
    """Return how many examples pass the filter; see `tracin_core.reviews.totals`."""
    of_data = replace(filter, status="any")
    conditions = _conditions(connection, run, of_data)
    ranking = select(func.count()).where(ScoreRow.run_id == run.id, ScoreRow.signal == signal)
    total = run.num_ranked
    if conditions:
        key = (connection.engine.url, run.id, run.created_at, of_data)
        query = ranking.where(*conditions)
        total = remembered_total(key, lambda: connection.scalars(query).one())
    if filter.status == "any":
        return total
    # From the decisions: an outer join, so that no planner turns it round (see `_conditions`).
    reviewed = connection.scalars(
        select(func.count(ScoreRow.example_id))
        .select_from(effective)
        .join(
            ScoreRow,
            and_(
                ScoreRow.run_id == run.id,
                ScoreRow.signal == signal,
                ScoreRow.example_id == effective.c.example_id,
            ),
            isouter=True,
        )
        .where(effective.c.project_id == run.project_id, effective.c.action != "skip", *conditions)
    ).one()
    return reviewed if filter.status == "reviewed" else total - reviewed


def _rows(
    connection: Connection, run: Run, ranked: Sequence[Row[*tuple[Any, ...]]]
) -> list[QueueRow]:
    views = load_views(connection, [one.example_id for one in ranked], run.id)
    rows = []
    for one in ranked:
        view = views[one.example_id]
        rows.append(
            QueueRow(
                example_id=view.id,
                position=view.position,
                rank=one.rank,
                percentile=percentile_of(one.rank, run.num_ranked),
                score=one.value,
                given_label=view.given_label,
                predicted_label=view.predicted_label,
                predicted_probability=view.predicted_probability,
                given_probability=view.given_probability,
                status=view.status,
                current_label=view.current_label,
                text=view.text,
                media_path=view.media_path,
                key=view.key,
                version=view.version,
            )
        )
    return rows
