"""The history of a project: its decision events with their examples, newest first, by pages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from relabel.db.decisions.audit import AUDIT_COLUMNS
from relabel.db.decisions.recording import DECISION_COLUMNS, Decision
from relabel.db.engine import reading
from relabel.db.paging import Page, count_rows_before
from relabel.db.schema import (
    DecisionRow,
    ExampleRow,
    PredictionRow,
    ReviewerRow,
    RunRow,
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
)
from relabel.db.team.leases import count_events
from relabel.db.team.reviewers import is_named
from relabel.db.text_search import contains, example_says
from relabel.text import Split

_Undo = aliased(DecisionRow)


@dataclass(frozen=True, kw_only=True)
class HistoryRow(Decision):
    """One event with its example.

    Attributes:
        current_label: The example's label now, after all events.
        status: The example's state now.
        undone: Whether a later event took this one back.
        undone_by: That event's id, or None.
        undoable: Whether this is the effective decision of its example.
        fields: A table's row; current_value: the example's number now, for regression;
            predicted_value: what the project's current run says.
        signal: The ranking that was shown; suggested_label, suggested_value and
            suggested_probability: the suggestion; None where that is not known.
        label_before: The label that stood before the event, label_after the one after it; for
            regression value_before and value_after.
        stated_at: When an imported decision was made, as its file says.
    """

    key: str
    split: Split
    position: int
    text: str | None
    media_path: str | None
    current_label: int
    status: str
    undone: bool
    undone_by: int | None
    undoable: bool
    fields: Mapping[str, float | str | None] | None = None
    current_value: float | None = None
    predicted_value: float | None = None
    signal: str | None = None
    suggested_label: int | None = None
    suggested_value: float | None = None
    suggested_probability: float | None = None
    label_before: int | None = None
    label_after: int | None = None
    value_before: float | None = None
    value_after: float | None = None
    stated_at: datetime | None = None


def fetch_history(
    engine: Engine,
    project_id: int,
    *,
    reviewer: str | None = None,
    actions: Sequence[str] = (),
    text: str = "",
    page: int = 1,
    page_size: int = 50,
) -> Page[HistoryRow]:
    """Return one page of a project's events, newest first; past the end it has no rows.

    Args:
        engine: The database.
        project_id: The project.
        reviewer: Only this person's events; None for all.
        actions: Only these actions; empty for all.
        text: Part of the note, or of the example's text, row or key, taken literally.
        page: From 1.
        page_size: Rows a page.

    Raises:
        InputError: If the page number or size is impossible.
    """
    first = count_rows_before(page, page_size)
    with reading(engine) as connection:
        conditions = _conditions(connection, project_id, reviewer, actions, text)
        total = connection.scalar(_joined(select(func.count())).where(*conditions)) or 0
        if first >= total:
            return Page([], total)
        # The page's ids first: the states are then worked out for its rows only.
        ids = connection.scalars(
            _joined(select(DecisionRow.id))
            .where(*conditions)
            .order_by(DecisionRow.id.desc())
            .limit(page_size)
            .offset(first)
        ).all()
        query = _with_states().where(DecisionRow.id.in_(ids)).order_by(DecisionRow.id.desc())
        rows = [_history_row(row._mapping) for row in connection.execute(query)]
    return Page(rows, total)


def fetch_events(engine: Engine, example_id: int) -> list[HistoryRow]:
    """Return all events of an example, the first one first."""
    with reading(engine) as connection:
        query = (
            _with_states().where(DecisionRow.example_id == example_id).order_by(DecisionRow.version)
        )
        return [_history_row(row._mapping) for row in connection.execute(query)]


def stream_events(
    connection: Connection, project_id: int, chunk: int
) -> Iterator[list[HistoryRow]]:
    """Yield all events of a project, the first one first, in lists of at most ``chunk``."""
    query = _with_states().where(DecisionRow.project_id == project_id).order_by(DecisionRow.id)
    result = connection.execute(query.execution_options(yield_per=chunk))
    for partition in result.partitions():
        yield [_history_row(row._mapping) for row in partition]


def _conditions(
    connection: Connection, project_id: int, reviewer: str | None, actions: Sequence[str], text: str
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [DecisionRow.project_id == project_id]
    if reviewer is not None:
        conditions.append(is_named(reviewer))
    if actions:
        conditions.append(DecisionRow.action.in_(actions))
    if text:
        conditions.append(
            or_(contains(connection, [DecisionRow.note], text), example_says(connection, text))
        )
    return conditions


def _joined(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    return (
        query.select_from(DecisionRow)
        .join(ExampleRow, ExampleRow.id == DecisionRow.example_id)
        .join(ReviewerRow, ReviewerRow.id == DecisionRow.reviewer_id)
    )


def _with_states() -> Select[*tuple[Any, ...]]:
    query = select(
        *DECISION_COLUMNS,
        *AUDIT_COLUMNS,
        ExampleRow.key,
        ExampleRow.split,
        ExampleRow.position,
        ExampleRow.text,
        ExampleRow.media_path,
        label_of_example.label("current_label"),
        status_of_example.label("status"),
        _Undo.id.label("undone_by"),
        ExampleRow.fields,
        value_of_example.label("current_value"),
        PredictionRow.predicted_value,
        effective.c.id.label("effective_id"),
    )
    return (
        _joined(query)
        .join(effective, effective.c.example_id == DecisionRow.example_id, isouter=True)
        .join(_Undo, _Undo.undoes == DecisionRow.id, isouter=True)
        .join(
            RunRow,
            and_(RunRow.project_id == DecisionRow.project_id, RunRow.is_current),
            isouter=True,
        )
        .join(
            PredictionRow,
            and_(
                PredictionRow.scoring_id == RunRow.scoring_id,
                PredictionRow.example_id == DecisionRow.example_id,
            ),
            isouter=True,
        )
    )


def _history_row(row: Any) -> HistoryRow:
    fields = dict(row)
    effective_id = fields.pop("effective_id")
    return HistoryRow(
        **fields,
        undone=fields["undone_by"] is not None,
        undoable=effective_id == fields["id"],
    )


def reviewers_since(engine: Engine, example_id: int, version: int) -> set[str]:
    """Return the keys of the names of those who decided about an example since a version."""
    query = (
        select(ReviewerRow.name_key)
        .join(DecisionRow, DecisionRow.reviewer_id == ReviewerRow.id)
        .where(DecisionRow.example_id == example_id, DecisionRow.version > version)
    )
    with reading(engine) as connection:
        return set(connection.scalars(query))


def find_versions(engine: Engine, example_ids: Collection[int]) -> dict[int, int]:
    """Return the versions of examples that have been decided about, by id; of others it is 0."""
    with reading(engine) as connection:
        return count_events(connection, sorted(example_ids))
