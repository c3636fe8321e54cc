"""Decisions about many examples at once, and taking them back together.

What is decided at once has one random token, the batch, by which it is taken back as one. Each
example comes with the version that was on the screen: one that somebody decided about meanwhile is
refused and named, and the others are recorded. It is done in short transactions, so that other
people's presses get in between. Sent again with its token, a batch goes on where it was cut off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, func, insert, select

from relabel.db.decisions.audit import describe_change, find_below
from relabel.db.decisions.checks import (
    check_action,
    check_correction,
    check_new_label,
    check_new_value,
    check_note,
    check_source,
    check_token,
)
from relabel.db.decisions.kinds import KEEP, UNDO, list_codes
from relabel.db.decisions.recording import describe_events_after
from relabel.db.engine import reading, writing
from relabel.db.examples import LARGEST_ID
from relabel.db.project_rules import Project, project_in
from relabel.db.registration import PAUSE
from relabel.db.runs import run_in
from relabel.db.schema import (
    DecisionRow,
    ExampleRow,
    ReviewerRow,
    effective,
    utc_now,
    version_of,
)
from relabel.db.team.leases import end_leases
from relabel.db.team.reviewers import Reviewer, refuse, reviewer_in
from relabel.db.team.rights import find_excess
from relabel.db.team.second_looks import note_first_answer
from relabel.errors import InvalidDecisionError, NotFoundError
from relabel.text import counted

# Examples a transaction: two tenths of a second; a single decision does not wait longer.
CHUNK = 2000
# Values in one IN (...), as in `relabel.db.examples`.
_AT_ONCE = 500
_Value = TypeVar("_Value")
# Refused ones that a message names.
NAMED = 3
# Examples that are decided at once; a filter that finds more is narrowed first.
MOST = 100_000


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One example of a batch as it was on the screen.

    Attributes:
        version: Number of events that it had there.
        new_label: Class index, for "relabel"; new_value: for regression in its place.
        rank: Its place in the queue; score: the signal's value there.
    """

    example_id: int
    version: int
    new_label: int | None = None
    new_value: float | None = None
    rank: int | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """What a person decided about many examples; the other fields are those of `NewDecision`.

    Attributes:
        token: Random; names the batch, and makes it harmless to send it again.
        signal: By which the examples were ranked on the screen.
    """

    token: str
    reviewer: str
    action: str
    items: Sequence[BatchItem]
    note: str = ""
    source: str = "queue"
    run_id: int | None = None
    identity_source: str = "typed"
    signal: str | None = None


@dataclass(frozen=True, kw_only=True)
class RefusedItem:
    """An example of a batch about which nothing was recorded, and why."""

    example_id: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What became of a batch.

    Attributes:
        token: Names it.
        recorded: The examples that were decided, or whose decision was taken back.
        kept: Those of them that had the new answer already, so that it was kept.
        refused: The others.
    """

    token: str
    recorded: tuple[int, ...]
    refused: tuple[RefusedItem, ...]
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Decisions that were made together.

    Attributes:
        token: Names it.
        actions: What was decided; two where some had the new label already.
        size: How many examples were decided.
        in_force: How many of these decisions still are.
    """

    token: str
    reviewer: str
    actions: tuple[str, ...]
    size: int
    in_force: int
    created_at: datetime


def record_batch(engine: Engine, project_id: int, new: NewBatch) -> BatchResult:
    """Append a decision about each example of a batch; when this returns, all are on the disk.

    An example whose given answer is the new one is kept: that is what was decided about it.

    Raises:
        InvalidDecisionError: If the decision makes no sense, for any of the examples. Nothing was
            recorded.
        NotFoundError: If there is no such project or run.
        DatabaseError: If it could not be written; sent again with its token, it goes on.
    """
    check_action(new.action)
    check_note(new.note)
    check_source(new.source)
    check_token(new.token)
    items = list({item.example_id: item for item in new.items}.values())
    with reading(engine) as connection:
        project = project_in(connection, project_id)
        if new.run_id is not None and run_in(connection, new.run_id).project_id != project_id:
            raise NotFoundError(f"Found no run with id {new.run_id} in the project.")
    _check_items(project, new, items)
    recorded: list[int] = []
    kept: list[int] = []
    refused: list[RefusedItem] = []
    for chunk in _chunks(items, CHUNK):
        with writing(engine) as connection:
            found = _append_chunk(connection, project, new, chunk)
        recorded += found.recorded
        kept += found.kept
        refused += found.refused
        time.sleep(PAUSE if len(items) > CHUNK else 0)
    return BatchResult(
        token=new.token, recorded=tuple(recorded), refused=tuple(refused), kept=tuple(kept)
    )


def undo_batch(
    engine: Engine,
    project_id: int,
    batch: str,
    *,
    token: str,
    reviewer: str,
    identity_source: str = "typed",
    source: str = "queue",
) -> BatchResult:
    """Take back the decisions of a batch that are still in force, as one.

    Args:
        engine: The database.
        project_id: The project.
        batch: The token of what was decided together.
        token: Random, of the undo.
        reviewer: Who undoes; need not be who decided.
        identity_source: As in `NewDecision`.
        source: As in `NewDecision`.

    Returns:
        What was taken back; refused are those that are undone already, lie under a later
        decision, or are another person's where only a lead may take them back.

    Raises:
        NotFoundError: If the project has no such batch.
        DatabaseError: If it could not be written; sent again with its token, it goes on.
    """
    check_token(batch)
    check_token(token)
    check_source(source)
    with reading(engine) as connection:
        project = project_in(connection, project_id)
        ids = list(connection.scalars(_decisions_of(project_id, batch).order_by(DecisionRow.id)))
    if not ids:
        raise NotFoundError("Found no decisions that were made together under this token.")
    recorded: list[int] = []
    refused: list[RefusedItem] = []
    undo = NewBatch(
        token=token,
        reviewer=reviewer,
        action=UNDO.code,
        items=(),
        source=source,
        identity_source=identity_source,
    )
    for chunk in _chunks(ids, CHUNK):
        with writing(engine) as connection:
            found = _undo_chunk(connection, project, undo, chunk)
        recorded += found.recorded
        refused += found.refused
        time.sleep(PAUSE if len(ids) > CHUNK else 0)
    return BatchResult(token=token, recorded=tuple(recorded), refused=tuple(refused))


def list_batches(engine: Engine, project_id: int, *, limit: int = 10) -> list[Batch]:
    """Return what was decided together of which anything is in force, the newest first."""
    query = (
        select(
            DecisionRow.batch.label("token"),
            func.max(ReviewerRow.name).label("reviewer"),
            func.min(DecisionRow.action).label("first"),
            func.max(DecisionRow.action).label("last"),
            func.count().label("size"),
            func.count(effective.c.id).label("in_force"),
            func.min(DecisionRow.created_at).label("created_at"),
        )
        .select_from(DecisionRow)
        .join(ReviewerRow, ReviewerRow.id == DecisionRow.reviewer_id)
        .join(effective, effective.c.id == DecisionRow.id, isouter=True)
        .where(
            DecisionRow.project_id == project_id,
            DecisionRow.batch.is_not(None),
            DecisionRow.action != UNDO.code,
        )
        .group_by(DecisionRow.batch)
        .having(func.count(effective.c.id) > 0)
        .order_by(func.min(DecisionRow.id).desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    return [
        Batch(actions=tuple(sorted({row.pop("first"), row.pop("last")}, reverse=True)), **row)
        for row in rows
    ]


def summarize_refused(result: BatchResult, *, named: int = NAMED) -> str:
    """Return in words what a batch did not record and why; "" where all was recorded."""
    if not result.refused:
        return ""
    told = " ".join(one.reason for one in result.refused[:named])
    more = len(result.refused) - named
    rest = f" And {counted(more, 'more')}." if more > 0 else ""
    return f"Not recorded for {counted(len(result.refused), 'example')}: {told}{rest}"


def _check_items(project: Project, new: NewBatch, items: Sequence[BatchItem]) -> None:
    if not items:
        raise InvalidDecisionError("No example is selected. Select some, then decide.")
    if len(items) > MOST:
        raise InvalidDecisionError(
            f"{len(items):,} examples are selected. Expected at most {MOST:,} at once: narrow the "
            "filter."
        )
    for item in items:
        check_correction(
            new.action, item.new_label, item.new_value, regression=project.task == "regression"
        )
        # Whether it is the given one is no fault here; such an example is kept.
        check_new_label(item.new_label, -1, project.classes)
        check_new_value(item.new_value, None)


def _append_chunk(
    connection: Connection, project: Project, new: NewBatch, items: Sequence[BatchItem]
) -> BatchResult:
    """Record a chunk in the caller's transaction."""
    by_id = {item.example_id: item for item in items}
    wanted = sorted(one for one in by_id if 0 < one <= LARGEST_ID)
    by = reviewer_in(connection, new.reviewer, new.identity_source)
    _lock(connection, project.id, wanted)
    states = {row.id: row for row in _read_states(connection, project.id, wanted)}
    before = _find_recorded(connection, new.token, wanted)
    rows, recorded, kept, refused = [], [], [], []
    for item in items:
        state = states.get(item.example_id)
        if item.example_id in before:  # sent again
            recorded.append(item.example_id)
        elif state is None:
            words = "It is no example of this project."
            refused.append(RefusedItem(example_id=item.example_id, reason=words))
        elif state.version != item.version:
            refused.append(_refuse_stale(connection, project, item))
        elif excess := _find_excess(connection, by, new, state):
            refused.append(excess)
        else:
            row = _event(project, new, item, state)
            rows.append(row)
            recorded.append(item.example_id)
            if row["action"] != new.action:
                kept.append(item.example_id)
    _insert(connection, project.id, by, new, rows)
    for row in rows:
        key = states[row["example_id"]].key
        note_first_answer(
            connection,
            project.settings,
            key,
            {**row, "project_id": project.id, "source": new.source},
        )
    return BatchResult(
        token=new.token, recorded=tuple(recorded), refused=tuple(refused), kept=tuple(kept)
    )


def _event(
    project: Project, new: NewBatch, item: BatchItem, state: Row[*tuple[Any, ...]]
) -> dict[str, Any]:
    is_given = (
        item.new_value == state.given_value
        if item.new_value is not None
        else item.new_label == state.given_label
    )
    is_kept = new.action in list_codes("correct") and is_given
    answer = (None, None) if is_kept else (item.new_label, item.new_value)
    return {
        "example_id": state.id,
        "version": state.version + 1,
        "action": KEEP.code if is_kept else new.action,
        "given_label": state.given_label,
        "given_value": state.given_value,
        "new_label": answer[0],
        "new_value": answer[1],
        "rank": item.rank,
        "score": item.score,
        "run_id": new.run_id,
        "signal": new.signal,
        "undoes": None,
        **_change(project, state, (state.effective_label, state.effective_value), answer),
    }


def _change(
    project: Project,
    state: Row[*tuple[Any, ...]],
    before: tuple[int | None, float | None],
    after: tuple[int | None, float | None] | None,
) -> dict[str, Any]:
    given = state.given_label, state.given_value
    return describe_change(
        regression=project.task == "regression", given=given, before=before, after=after
    )


def _undo_chunk(
    connection: Connection, project: Project, undo: NewBatch, ids: Sequence[int]
) -> BatchResult:
    """Take a chunk of decisions back in the caller's transaction."""
    events: dict[int, Row[*tuple[Any, ...]]] = {}
    for part in _chunks(ids, _AT_ONCE):
        query = select(
            DecisionRow.id,
            DecisionRow.example_id,
            DecisionRow.version,
            DecisionRow.run_id,
            DecisionRow.new_label,
            DecisionRow.new_value,
        ).where(DecisionRow.id.in_(part))
        events |= {row.example_id: row for row in connection.execute(query)}
    wanted = sorted(events)
    by = reviewer_in(connection, undo.reviewer, undo.identity_source)
    _lock(connection, project.id, wanted)
    states = _read_states(connection, project.id, wanted)
    before = _find_recorded(connection, undo.token, wanted)
    rows, recorded, refused = [], [], []
    for state in states:
        event = events[state.id]
        if state.id in before:
            recorded.append(state.id)
        elif state.effective_id != event.id:
            told = describe_events_after(connection, state.id, event.version, project.classes)
            refused.append(RefusedItem(example_id=state.id, reason=f"Since then {told}."))
        elif excess := _find_excess(connection, by, undo, state):
            refused.append(excess)
        else:
            recorded.append(state.id)
            # Below the first event of an example there is nothing to look for.
            below = None if event.version == 1 else find_below(connection, state.id, event.id)
            rows.append(
                {
                    "example_id": state.id,
                    "version": state.version + 1,
                    "action": UNDO.code,
                    "given_label": state.given_label,
                    "given_value": state.given_value,
                    "new_label": None,
                    "new_value": None,
                    "rank": None,
                    "score": None,
                    "run_id": event.run_id,
                    "signal": None,
                    "undoes": event.id,
                    **_change(project, state, (event.new_label, event.new_value), below),
                }
            )
    _insert(connection, project.id, by, undo, rows)
    return BatchResult(token=undo.token, recorded=tuple(recorded), refused=tuple(refused))


def _find_excess(
    connection: Connection, by: Reviewer, new: NewBatch, state: Row[*tuple[Any, ...]]
) -> RefusedItem | None:
    values = {"action": new.action, "source": new.source}
    deed = find_excess(by, values, state.effective_reviewer, state.effective_action)
    if deed is None:
        return None
    return RefusedItem(example_id=state.id, reason=str(refuse(connection, deed)))


def _insert(
    connection: Connection,
    project_id: int,
    by: Reviewer,
    new: NewBatch,
    rows: Sequence[dict[str, Any]],
) -> None:
    if not rows:
        return
    shared = {
        "project_id": project_id,
        "reviewer_id": by.id,
        "note": new.note,
        "source": new.source,
        "created_at": utc_now(),
        "batch": new.token,
    }
    connection.execute(insert(DecisionRow), [row | shared for row in rows])
    for part in _chunks([row["example_id"] for row in rows], _AT_ONCE):
        end_leases(connection, part)


def _lock(connection: Connection, project_id: int, ids: Sequence[int]) -> None:
    """Keep other decisions about these examples waiting; SQLite's write lock is held already.

    In the order of their ids, so that two batches wait for each other in one direction.
    """
    if connection.dialect.name == "sqlite":
        return
    for part in _chunks(ids, _AT_ONCE):
        of_project = ExampleRow.id.in_(part), ExampleRow.project_id == project_id
        query = select(ExampleRow.id).where(*of_project).order_by(ExampleRow.id)
        connection.execute(query.with_for_update(key_share=True)).all()


def _read_states(
    connection: Connection, project_id: int, ids: Sequence[int]
) -> list[Row[*tuple[Any, ...]]]:
    """Return the examples of the project among these, each with its version and what lies on top.

    In statements of their own: one that waited for a lock would still see the old events.
    """
    found: list[Row[*tuple[Any, ...]]] = []
    for part in _chunks(ids, _AT_ONCE):
        query = (
            select(
                ExampleRow.id,
                ExampleRow.key,
                ExampleRow.given_label,
                ExampleRow.given_value,
                version_of(ExampleRow.id).label("version"),
                effective.c.id.label("effective_id"),
                effective.c.action.label("effective_action"),
                effective.c.reviewer_id.label("effective_reviewer"),
                effective.c.new_label.label("effective_label"),
                effective.c.new_value.label("effective_value"),
            )
            .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
            # Not the column itself: SQLite would go through an index of the whole project.
            .where(ExampleRow.id.in_(part), ExampleRow.project_id + 0 == project_id)
            .order_by(ExampleRow.id)
        )
        found += connection.execute(query).all()
    return found


def _find_recorded(connection: Connection, token: str, ids: Sequence[int]) -> set[int]:
    """Return the examples among these that the token has made an event of before."""
    found: set[int] = set()
    for part in _chunks(ids, _AT_ONCE):
        query = select(DecisionRow.example_id).where(
            DecisionRow.batch == token, DecisionRow.example_id.in_(part)
        )
        found |= set(connection.scalars(query))
    return found


def _refuse_stale(connection: Connection, project: Project, item: BatchItem) -> RefusedItem:
    told = describe_events_after(connection, item.example_id, item.version, project.classes)
    words = f"Meanwhile {told}." if told else "The screen showed another state of it."
    return RefusedItem(example_id=item.example_id, reason=words)


def _decisions_of(project_id: int, batch: str) -> Any:
    return select(DecisionRow.id).where(
        DecisionRow.project_id == project_id,
        DecisionRow.batch == batch,
        DecisionRow.action != UNDO.code,
    )


def _chunks(values: Sequence[_Value], size: int) -> Iterator[Sequence[_Value]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
