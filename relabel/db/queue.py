"""The queue: train examples by how suspect they are, filtered, a page or a suspect at a time.

A page is found in two steps. The first walks the ranking, which is stored in its own order, and
tests each example by probes of indices; the second fetches what the screen shows, for the rows
of the page only. Without a filter the page number alone gives the ranks.

A suspect is drawn together with everything that the screen says of it, from one state of the
database. A decision names the version of the example that was on the screen. Were the suspect and
its version read one after the other, a decision made in between would be neither seen nor refused:
the suspect would be shown as nobody's, with the version that follows somebody's decision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, select

from relabel.db.decisions.recording import describe_events_after
from relabel.db.engine import reading, reading_one_state
from relabel.db.examples import ExampleView, ScoreView, load_views, percentile_of
from relabel.db.filtering import (
    DEEP,
    PROBE_COST,
    RARE,
    apply_status,
    count_passing,
    filter_conditions,
    find_few_ranks,
    find_ranks,
    is_decided,
    known_ranks,
)
from relabel.db.paging import Page, count_rows_before
from relabel.db.project_rules import project_in
from relabel.db.runs import RankedRun, name_ranking, ranked_run_in
from relabel.db.schema import (
    DEFERRING,
    ExampleRow,
    ScoreRow,
    effective,
)
from relabel.errors import NotFoundError
from relabel.runs.groups import GroupName
from relabel.text import Split


@dataclass(frozen=True)
class QueueFilter:
    """Which examples of the queue to show; all conditions hold together.

    Attributes:
        given_labels: Class indices; empty for all.
        predicted_labels: Class indices that the run's network says; empty for all.
        suggested_labels: Class indices that models say which have not seen the example; empty for
            all. A run without these has no such example.
        status: "pending" (not decided yet: unseen or skipped), "reviewed" (the others), "any".
        disagreement_only: Only where the network's prediction differs from the given label; for
            classification.
        suggestion_differs: The same of what models say that have not seen the example.
        text: Part of the example's text, of a value in its row, of its key, or of a picture's
            place in the data, taken literally.
        given_from: For regression, the least given value, itself included; None for any.
        given_to: The greatest one, itself included; None for any.
        split: Of the examples. Each split is ranked and counted by itself.
        group: Of examples that are alike; None for all. A run without groups has no such example.
    """

    given_labels: tuple[int, ...] = ()
    predicted_labels: tuple[int, ...] = ()
    suggested_labels: tuple[int, ...] = ()
    status: Literal["any", "pending", "reviewed"] = "any"
    disagreement_only: bool = False
    suggestion_differs: bool = False
    text: str = ""
    given_from: float | None = None
    given_to: float | None = None
    split: Split = "train"
    group: GroupName | None = None


EVERYTHING = QueueFilter()


@dataclass(frozen=True)
class QueueRow:
    """One example of the queue.

    Attributes:
        rank: 1 is the most suspect; counted in the whole split, whatever the filter.
        percentile: ``100 * (1 - (rank - 1) / N)``: rank 1 is 100.
        version: Number of the example's events; a decision must name it.
        fields: A table's row; source_place: where it is in the person's own data; given_value,
            current_value, predicted_value: for regression; suggested_label; as in `ExampleView`.
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
    fields: Mapping[str, float | str | None] | None = None
    given_value: float | None = None
    current_value: float | None = None
    predicted_value: float | None = None
    source_place: str | None = None
    suggested_label: int | None = None


@dataclass(frozen=True)
class DrawnSuspect:
    """A suspect as the database had it at one moment.

    Attributes:
        row: Its place in the queue.
        view: What is known of it; its version is the one that a decision must name. Of its scores
            the one that it is ranked by is there.
        look: The first answer, for whoever is to give the second one and must not know it; else
            None.
        ticket: What an answer to an audit's item is known by, which comes blind; else "".
    """

    row: QueueRow
    view: ExampleView
    look: int | None = None
    ticket: str = ""


def fetch_page(
    engine: Engine,
    run_id: int,
    *,
    signal: str | None = None,
    filter: QueueFilter = EVERYTHING,
    page: int = 1,
    page_size: int = 50,
) -> Page[QueueRow]:
    """Return one page of the queue, most suspect first; past the end it has no rows.

    Args:
        engine: The database.
        run_id: The run.
        signal: What the queue is ranked by; None for the run's first signal.
        filter: Which examples.
        page: From 1.
        page_size: Rows a page.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
        InputError: If the page number or size is impossible.
    """
    first = count_rows_before(page, page_size)
    with reading_one_state(engine) as connection:
        run, signal = open_ranking(connection, run_id, signal, filter.split)
        total = count_passing(connection, run, signal, filter)
        if first >= total:
            return Page([], total)
        if filter == replace(EVERYTHING, split=filter.split):
            query = _ranking(run, signal).where(ScoreRow.rank > first).limit(page_size)
            return Page(_rows(connection, run, connection.execute(query).all()), total)
        is_rare = total <= RARE and (first + page_size) * PROBE_COST > total
        of_data = replace(filter, status="any")
        has_data = bool(filter_conditions(connection, run, of_data))
        ranks = known_ranks(connection, run, signal, of_data)
        if has_data and (is_rare or first > DEEP):
            ranks = find_ranks(connection, run, signal, of_data)
        if ranks is None:
            query = _ranking(run, signal).where(*filter_conditions(connection, run, filter))
            query = query.limit(page_size).offset(first)
        else:
            left = apply_status(connection, run, signal, filter, ranks)
            chosen = left[first : first + page_size].tolist()
            query = _ranking(run, signal).where(ScoreRow.rank.in_(chosen))
        return Page(_rows(connection, run, connection.execute(query).all()), total)


def next_suspect(
    engine: Engine,
    run_id: int,
    *,
    signal: str | None = None,
    filter: QueueFilter = EVERYTHING,
    after_rank: int | None = None,
) -> QueueRow | None:
    """Return the next example to decide, or None when all is decided.

    Pending ones come first in the order of the queue (after `after_rank`, then those before
    it), then the skipped ones, the longest skipped first. Without a signal the run's first ranks.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
    """
    with reading_one_state(engine) as connection:
        run, signal = open_ranking(connection, run_id, signal, filter.split)
        found = _find_undecided(connection, run, signal, filter, after_rank=after_rank, count=1)
        return next(iter(_rows(connection, run, found)), None)


def draw_next_suspects(
    engine: Engine,
    run_id: int,
    *,
    signal: str | None = None,
    filter: QueueFilter = EVERYTHING,
    count: int = 1,
    without: Collection[int] = (),
    also: Sequence[ColumnElement[bool]] = (),
) -> list[DrawnSuspect]:
    """Return the next examples to decide, of one moment and in the order of `next_suspect`.

    Args:
        engine: The database.
        run_id: The run.
        signal: What the queue is ranked by; None for the run's first signal.
        filter: Which examples.
        count: At most so many.
        without: Ids of examples that somebody has on the screen, or has decided just now.
        also: More conditions on a row of `score`.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
        DatabaseError: If the database fails.
    """
    with reading_one_state(engine) as connection:
        run, ranking = open_ranking(connection, run_id, signal, filter.split)
        found = _find_undecided(
            connection, run, ranking, filter, count=count, without=frozenset(without), also=also
        )
        return draw_ranked(connection, run, signal, found)


def draw_ranked(
    connection: Connection,
    run: RankedRun,
    signal: str | None,
    found: Sequence[Row[*tuple[Any, ...]]],
) -> list[DrawnSuspect]:
    """Return examples that were found in the ranking with all that is known of them."""
    views = load_views(connection, [one.example_id for one in found], run.id)
    drawn = []
    for one in found:
        row = _row_of(run, one, views[one.example_id])
        scores = {signal or run.signals[0]: ScoreView(row.score, row.rank, row.percentile)}
        drawn.append(DrawnSuspect(row, replace(views[one.example_id], scores=scores)))
    return drawn


def describe_since(engine: Engine, view: ExampleView, version: int) -> str:
    """Return in plain words what has been decided about an example since a version.

    Returns:
        For instance "Ann excluded it (2026-05-04 …)"; "" where nothing has been.
    """
    with reading_one_state(engine) as connection:
        classes = project_in(connection, view.project_id).classes
        return describe_events_after(connection, view.id, version, classes)


def adjacent(
    engine: Engine,
    run_id: int,
    *,
    signal: str | None = None,
    filter: QueueFilter = EVERYTHING,
    example_id: int,
) -> tuple[int | None, int | None]:
    """Return the ids before and after an example in the filtered queue, None at its ends.

    The example itself need not pass the filter. One that the ranking does not have, as it is of
    the other split, has those by position in its split as neighbours, whatever the filter. Without
    a signal the run's first ranks.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal, or the example unknown.
    """
    with reading(engine) as connection:
        run, signal = open_ranking(connection, run_id, signal, filter.split)
        view = load_views(connection, [example_id], None).get(example_id)
        if view is None:
            raise NotFoundError(f"Found no example with id {example_id}. Open one from the queue.")
        rank = connection.scalar(
            select(ScoreRow.rank).where(
                ScoreRow.scoring_id == run.scoring_id,
                ScoreRow.signal == signal,
                ScoreRow.example_id == view.id,
            )
        )
        if rank is None:
            ids = select(ExampleRow.id).where(
                ExampleRow.project_id == view.project_id, ExampleRow.split == view.split
            )
            place, at = ExampleRow.position, view.position
        else:
            ids = select(ScoreRow.example_id).where(
                ScoreRow.scoring_id == run.scoring_id,
                ScoreRow.signal == signal,
                *filter_conditions(connection, run, filter),
            )
            place, at = ScoreRow.rank, rank
        before = connection.scalar(ids.where(place < at).order_by(place.desc()).limit(1))
        after = connection.scalar(ids.where(place > at).order_by(place).limit(1))
    return before, after


def _find_undecided(
    connection: Connection,
    run: RankedRun,
    signal: str,
    filter: QueueFilter,
    *,
    after_rank: int | None = None,
    count: int,
    without: frozenset[int] = frozenset(),
    also: Sequence[ColumnElement[bool]] = (),
) -> list[Row[*tuple[Any, ...]]]:
    """Return rank, example and score of the next examples to decide, in their order."""
    if filter.status == "reviewed":
        return []
    conditions = [*filter_conditions(connection, run, filter, with_status=False), *also]
    if without:
        conditions.append(ScoreRow.example_id.not_in(sorted(without)))
    few = find_few_ranks(connection, run, signal, filter)
    if few is not None:
        # Where they are known, nothing else need be tested along the ranking.
        conditions = [ScoreRow.rank.in_(few), *conditions]
    pending = _ranking(run, signal).where(~is_decided(), *conditions)
    queries: list[Select[*tuple[Any, ...]]] = [pending]
    if after_rank is not None:
        after, before = ScoreRow.rank > after_rank, ScoreRow.rank <= after_rank
        queries = [pending.where(after), pending.where(before)]
    queries.append(_skipped(run, signal).where(*conditions))
    found: list[Row[*tuple[Any, ...]]] = []
    for query in queries:
        if len(found) < count:
            found += connection.execute(query.limit(count - len(found))).all()
    return found


def open_ranking(
    connection: Connection, run_id: int, signal: str | None, split: Split = "train"
) -> tuple[RankedRun, str]:
    """Return the run as it ranks a split, and the name under which the ranking is stored.

    It is by the signal that is wanted, or by the run's first.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
    """
    return choose_ranking(ranked_run_in(connection, run_id), signal, split)


def choose_ranking(
    run: RankedRun, signal: str | None, split: Split = "train"
) -> tuple[RankedRun, str]:
    """Return what `open_ranking` does, of a run that is read already."""
    run = run.of_split(split)
    chosen = next(iter(run.signals), "") if signal is None else signal
    if chosen not in run.signals:
        raise NotFoundError(
            f"Run {run.key!r} is not ranked by {chosen or 'anything'!r}. Choose one of: "
            f"{', '.join(run.signals) or 'none: score the project first'}."
        )
    return run, name_ranking(chosen, split)


def _ranking(run: RankedRun, signal: str) -> Select[*tuple[Any, ...]]:
    return (
        select(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value)
        .where(ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == signal)
        .order_by(ScoreRow.rank)
    )


def _skipped(run: RankedRun, signal: str) -> Select[*tuple[Any, ...]]:
    return (
        select(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value)
        .join(effective, effective.c.example_id == ScoreRow.example_id)
        .where(
            ScoreRow.scoring_id == run.scoring_id,
            ScoreRow.signal == signal,
            effective.c.action.in_(DEFERRING),
        )
        .order_by(effective.c.id)
    )


def _rows(
    connection: Connection, run: RankedRun, ranked: Sequence[Row[*tuple[Any, ...]]]
) -> list[QueueRow]:
    views = load_views(connection, [one.example_id for one in ranked], run.id)
    return [_row_of(run, one, views[one.example_id]) for one in ranked]


def _row_of(run: RankedRun, ranked: Row[*tuple[Any, ...]], view: ExampleView) -> QueueRow:
    return QueueRow(
        example_id=view.id,
        position=view.position,
        rank=ranked.rank,
        percentile=percentile_of(ranked.rank, run.num_ranked),
        score=ranked.value,
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
        fields=view.fields,
        given_value=view.given_value,
        current_value=view.current_value,
        predicted_value=view.predicted_value,
        source_place=view.source_place,
        suggested_label=view.suggested_label,
    )
