"""What passes a filter of the queue: its conditions, how many examples pass, and their ranks.

How many examples pass a filter of labels lies in the database (`relabel.db.label_counts`); of
another one it is counted once a run, because that reads the whole ranking and a person pages
through the same filter again and again. Where few pass, or a page far down is asked for, their
ranks are kept instead, a few bytes each, and everything about the filter is found from them. Given
labels, texts and predictions of a registered run do not change; what decisions change is counted
from the decisions, which are few beside the examples.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select
from sqlalchemy.orm import aliased

from relabel.db.examples import scores_of
from relabel.db.label_counts import count_by_labels
from relabel.db.runs import RankedRun, name_group_ranking
from relabel.db.schema import (
    DEFERRING,
    ExampleRow,
    PredictionRow,
    ScoreRow,
    effective,
)
from relabel.db.text_search import example_says

if TYPE_CHECKING:
    from relabel.db.queue import QueueFilter

# The walk along the ranking jumps about in the table of examples; in the table's own order the
# same test took a sixth of the time (1,000,000 texts). So where few examples pass, and the walk
# would have to go far for them, all are tested in their own order and their ranks are kept.
RARE = 2000
PROBE_COST = 6
# Rows that a walk may leave behind; beyond, all ranks of the filter are found at once.
DEEP = 5000
# Filters remembered in a process; a number each.
CAPACITY = 512
# Ranks remembered in a process; four bytes each, so eight megabytes.
MOST_RANKS = 2_000_000
Ranks = NDArray[np.int32]

_totals: OrderedDict[Hashable, int] = OrderedDict()
_ranks: OrderedDict[Hashable, Ranks] = OrderedDict()
_lock = Lock()


def count_passing(connection: Connection, run: RankedRun, signal: str, filter: QueueFilter) -> int:
    """Return how many examples pass the filter; see `relabel.db.queue`."""
    of_data = replace(filter, status="any")
    conditions = filter_conditions(connection, run, of_data)
    ranking = select(func.count()).where(
        ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == signal
    )
    total = run.num_ranked
    if conditions:
        key = (connection.engine.url, run.scoring_id, run.created_at, of_data)
        query = ranking.where(*conditions)

        def count() -> int:
            found = _count_by_labels(connection, run, of_data)
            if found is None:
                found = _find_few(connection, run, signal, of_data)
            return connection.scalars(query).one() if found is None else found

        total = cached_total(key, count)
    known = known_ranks(connection, run, signal, of_data)
    if known is not None:
        return len(apply_status(connection, run, signal, filter, known))
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


def find_few_ranks(
    connection: Connection, run: RankedRun, signal: str, filter: QueueFilter
) -> list[int] | None:
    """Return the ranks of what passes a text filter where they are few; None of any other.

    A walk along the ranking would test every text that comes before: of a million, with one hit at
    the end, for three seconds.
    """
    if not filter.text:
        return None
    of_data = replace(filter, status="any")
    if count_passing(connection, run, signal, of_data) > RARE:
        return None
    ranks: list[int] = find_ranks(connection, run, signal, of_data).tolist()
    return ranks


def cached_total(key: Hashable, count: Callable[[], int]) -> int:
    """Return the total kept under the key, counted on first use.

    Args:
        key: Names database, run, the moment of its registration, and the filter.
        count: Counts in the database.
    """
    with _lock:
        if key in _totals:
            _totals.move_to_end(key)
            return _totals[key]
    total = count()
    with _lock:
        _totals[key] = total
        while len(_totals) > CAPACITY:
            _totals.popitem(last=False)
    return total


def find_ranks(connection: Connection, run: RankedRun, signal: str, of_data: QueueFilter) -> Ranks:
    """Return the ranks of all that pass a filter, ascending; kept for whoever asks next."""
    known = known_ranks(connection, run, signal, of_data)
    if known is not None:
        return known
    ids = connection.scalars(_select_ids(connection, run, signal, of_data)).all()
    return _rank_ids(connection, run, signal, of_data, ids)


def _find_few(
    connection: Connection, run: RankedRun, signal: str, of_data: QueueFilter
) -> int | None:
    """Return how many pass a filter where they are few, and keep their ranks; None of more."""
    query = _select_ids(connection, run, signal, of_data).limit(RARE + 1)
    ids = connection.scalars(query).all()
    if len(ids) > RARE:
        return None
    _rank_ids(connection, run, signal, of_data, ids)
    return len(ids)


def _rank_ids(
    connection: Connection,
    run: RankedRun,
    signal: str,
    of_data: QueueFilter,
    ids: Sequence[int],
) -> Ranks:
    found = [row.rank for row in scores_of(connection, ids, run.scoring_id, [signal])]
    ranks = np.sort(np.array(found, dtype=np.int32))
    _keep_ranks(_key_of(connection, run, signal, of_data), ranks)
    return ranks


def _select_ids(
    connection: Connection, run: RankedRun, signal: str, of_data: QueueFilter
) -> Select[*tuple[Any, ...]]:
    conditions = filter_conditions(connection, run, replace(of_data, given_labels=()))
    if of_data.given_labels:
        # Only those of the classes are looked at; an index finds them.
        of_classes = select(ExampleRow.id).where(
            ExampleRow.project_id == run.project_id,
            ExampleRow.split == of_data.split,
            ExampleRow.given_label.in_(_labels(of_data.given_labels)),
        )
        conditions.insert(0, ScoreRow.example_id.in_(of_classes))
    # Nothing but the id is asked for: the index on (scoring, signal, example) then answers alone.
    return (
        select(ScoreRow.example_id)
        .where(ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == signal, *conditions)
        # Else SQLite goes along the ranking, which jumps about in the table of examples.
        .order_by(ScoreRow.example_id)
    )


def _key_of(connection: Connection, run: RankedRun, signal: str, of_data: QueueFilter) -> Hashable:
    return (connection.engine.url, run.scoring_id, run.created_at, signal, of_data)


def known_ranks(
    connection: Connection, run: RankedRun, signal: str, of_data: QueueFilter
) -> Ranks | None:
    """Return the ranks of a filter that were found before, or None."""
    key = _key_of(connection, run, signal, of_data)
    with _lock:
        if key in _ranks:
            _ranks.move_to_end(key)
        return _ranks.get(key)


def _keep_ranks(key: Hashable, ranks: Ranks) -> None:
    with _lock:
        _ranks[key] = ranks
        while sum(map(len, _ranks.values())) > MOST_RANKS or len(_ranks) > CAPACITY:
            _ranks.popitem(last=False)


def apply_status(
    connection: Connection, run: RankedRun, signal: str, filter: QueueFilter, ranks: Ranks
) -> Ranks:
    """Return those of some ranks whose examples have the state that a filter asks for."""
    if filter.status == "any":
        return ranks
    of_score = and_(
        ScoreRow.scoring_id == run.scoring_id,
        ScoreRow.signal == signal,
        ScoreRow.example_id == effective.c.example_id,
    )
    # From the decisions: an outer join, so that no planner turns it round.
    reviewed = connection.scalars(
        select(ScoreRow.rank)
        .select_from(effective)
        .join(ScoreRow, of_score, isouter=True)
        .where(
            effective.c.project_id == run.project_id,
            effective.c.action.not_in(DEFERRING),
            ScoreRow.rank.is_not(None),
        )
    ).all()
    is_reviewed = np.isin(ranks, np.array(reviewed, dtype=np.int32))
    return ranks[is_reviewed if filter.status == "reviewed" else ~is_reviewed]


def _count_by_labels(connection: Connection, run: RankedRun, of_data: QueueFilter) -> int | None:
    """Return how many pass a filter of labels alone; None where the database does not know it."""
    wanted = (of_data.text or None, of_data.given_from, of_data.given_to, of_data.group)
    if any(one is not None for one in wanted):
        return None
    return count_by_labels(
        connection,
        run.scoring_id,
        of_data.split,
        expected=run.num_ranked,
        given=of_data.given_labels,
        predicted=of_data.predicted_labels,
        suggested=of_data.suggested_labels,
        predicted_differs=of_data.disagreement_only,
        suggested_differs=of_data.suggestion_differs,
    )


def filter_conditions(
    connection: Connection, run: RankedRun, filter: QueueFilter, *, with_status: bool = True
) -> list[ColumnElement[bool]]:
    """Return the filter as conditions on a row of `score`.

    Each is an EXISTS, not a join: a planner may turn a join round and walk the examples, which
    means sorting them all for one page. A group's members are a few neighbouring rows.
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
    if filter.group is not None:
        conditions.append(ScoreRow.example_id.in_(_members(connection, run, filter)))
    parts = list(_list_prediction_conditions(filter))
    if parts:
        of_row = (
            PredictionRow.scoring_id == run.scoring_id,
            PredictionRow.example_id == ScoreRow.example_id,
        )
        conditions.append(exists().where(*of_row, *parts))
    if with_status and filter.status == "reviewed":
        conditions.append(is_reviewed())
    if with_status and filter.status == "pending":
        conditions.append(~is_reviewed())
    return conditions


def _members(
    connection: Connection, run: RankedRun, filter: QueueFilter
) -> Select[*tuple[Any, ...]]:
    """Return the query for the ids of a group's examples, which lie side by side."""
    assert filter.group is not None  # noqa: S101 - for the type checker
    wanted = filter.group.number
    listed = aliased(ScoreRow)
    of_kind = (
        listed.scoring_id == run.scoring_id,
        listed.signal == name_group_ranking(filter.group.kind, filter.split),
    )

    def number_at(place: int) -> int:
        at_rank = select(listed.value).where(*of_kind, listed.rank == place + 1)
        return int(connection.scalars(at_rank).one())

    last = connection.scalar(select(func.max(listed.rank)).where(*of_kind)) or 0
    first = bisect_left(range(last), wanted, key=number_at)
    behind = bisect_right(range(last), wanted, lo=first, key=number_at)
    return select(listed.example_id).where(*of_kind, listed.rank.between(first + 1, behind))


def _list_prediction_conditions(filter: QueueFilter) -> Iterator[ColumnElement[bool]]:
    """Yield what the filter says of a row of ``prediction``."""
    for column, labels, must_differ in (
        (PredictionRow.predicted_label, filter.predicted_labels, filter.disagreement_only),
        (PredictionRow.suggested_label, filter.suggested_labels, filter.suggestion_differs),
    ):
        if labels:
            yield column.in_(_labels(labels))
        if must_differ:
            yield exists().where(
                ExampleRow.id == PredictionRow.example_id, ExampleRow.given_label != column
            )


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
