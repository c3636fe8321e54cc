"""Decide and undo: events are appended, never changed.

`tracin_core.reviews.events` says how events become the state of an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InvalidDecisionError, NotFoundError, StaleDecisionError
from tracin_core.reviews import decision_rules as rules
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.decision_kinds import UNDO
from tracin_core.reviews.events import effective, version_of
from tracin_core.reviews.examples import LARGEST_ID
from tracin_core.reviews.ledger import (
    Decision,
    decision_in,
    decisions_after,
    describe,
    select_decisions,
)
from tracin_core.reviews.reviewers import reviewer_in
from tracin_core.reviews.schema import (
    DecisionRow,
    ExampleRow,
    ProjectRow,
    ReviewerRow,
    RunRow,
    is_shown,
    utc_now,
)

__all__ = [
    "NewDecision",
    "Decision",
    "record_decision",
    "undo_decision",
    "last_undoable",
    "get_decision",
]

# Newest events told in the message of a stale decision.
TOLD_EVENTS = 3


@dataclass(frozen=True)
class NewDecision:
    """What a person decided about an example.

    Attributes:
        expected_version: The version of the example that was on the screen.
        reviewer: Name of the person.
        action: The code of a kind of decision: "keep", "relabel", "exclude", "ambiguous", "skip".
        new_label: Class index, for "relabel" only; another one than the given label.
        new_value: For regression in its place: a finite number other than the given value.
        seconds_spent: From the example's appearance to the press.
        source: Where it was decided: "queue", "audit", "inspect", "history" or "import".
        rank: Rank in the queue it came from; score: the signal's value there; run_id: the run.
        identity_source: How we know the name: "account", "typed" or "oidc".
    """

    example_id: int
    expected_version: int
    reviewer: str
    action: str
    new_label: int | None = None
    note: str = ""
    seconds_spent: float | None = None
    source: str = "queue"
    rank: int | None = None
    score: float | None = None
    run_id: int | None = None
    identity_source: str = "typed"
    new_value: float | None = None


def record_decision(engine: Engine, new: NewDecision) -> Decision:
    """Append a decision; when this returns, it is on the disk.

    Args:
        engine: The database.
        new: The decision, with the version of the example that the person saw.

    Returns:
        The event.

    Raises:
        StaleDecisionError: If somebody decided about the example meanwhile; the message says
            who and what. Nothing was recorded.
        InvalidDecisionError: If the decision makes no sense.
        NotFoundError: If there is no such example, or the run is not of its project.
        DatabaseError: If it could not be written.
    """
    rules.check_action(new.action)
    rules.check_note(new.note)
    rules.check_source(new.source)
    rules.check_numbers(new.seconds_spent, new.rank, new.score)
    try:
        with writing(engine) as connection:
            example = _lock_example(connection, new.example_id)
            _check_correction(new, example)
            _check_run(connection, new.run_id, example.project_id)
            _check_version(connection, example, new.expected_version)
            values = {
                "project_id": example.project_id,
                "example_id": example.id,
                "version": int(new.expected_version) + 1,
                "action": new.action,
                "given_label": example.given_label,
                "new_label": None if new.new_label is None else int(new.new_label),
                "note": new.note,
                "seconds_spent": None if new.seconds_spent is None else float(new.seconds_spent),
                "source": new.source,
                "rank": None if new.rank is None else int(new.rank),
                "score": None if new.score is None else float(new.score),
                "run_id": None if new.run_id is None else int(new.run_id),
                "given_value": example.given_value,
                "new_value": None if new.new_value is None else float(new.new_value),
            }
            return _append(connection, values, new.reviewer, new.identity_source)
    except IntegrityError as error:
        _raise_if_stale(engine, new.example_id, new.expected_version, error)
        raise


def undo_decision(
    engine: Engine,
    decision_id: int,
    *,
    reviewer: str,
    note: str = "",
    source: str = "history",
    identity_source: str = "typed",
) -> Decision:
    """Append an event that takes a decision back; the one below it, if any, is in force again.

    Args:
        engine: The database.
        decision_id: The effective decision of its example.
        reviewer: Who undoes; need not be who decided.
        note: Why.
        source: Where it was undone, as in `NewDecision`.
        identity_source: As in `NewDecision`.

    Returns:
        The undo event, which is a version of the example of its own.

    Raises:
        StaleDecisionError: If the decision is undone already, or another one lies on top.
        InvalidDecisionError: If the event is itself an undo.
        NotFoundError: If there is no such decision.
        DatabaseError: If it could not be written.
    """
    rules.check_note(note)
    rules.check_source(source)
    undone = get_decision(engine, decision_id)
    if undone.action == UNDO.code:
        raise InvalidDecisionError(
            "This event is an undo, which cannot be undone. Decide about the example again instead."
        )
    try:
        with writing(engine) as connection:
            example = _lock_example(connection, undone.example_id)
            _check_effective(connection, example, undone)
            values = {
                "project_id": example.project_id,
                "example_id": example.id,
                "version": example.version + 1,
                "action": UNDO.code,
                "given_label": undone.given_label,
                "note": note,
                "undoes": undone.id,
                "source": source,
                "run_id": undone.run_id,
                "given_value": undone.given_value,
            }
            return _append(connection, values, reviewer, identity_source)
    except IntegrityError as error:
        _raise_if_stale(engine, undone.example_id, undone.version, error)
        raise


def last_undoable(engine: Engine, project_id: int, reviewer: str) -> Decision | None:
    """Return the reviewer's newest decision that is in force, or None.

    Undone one after the other, these take a person back through what they did.
    """
    with reading(engine) as connection:
        newest = (
            select(effective.c.id)
            .join(ReviewerRow, ReviewerRow.id == effective.c.reviewer_id)
            .where(effective.c.project_id == project_id, ReviewerRow.name == reviewer.strip())
            .order_by(effective.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = select_decisions().where(DecisionRow.id == newest)
        row = connection.execute(query).one_or_none()
        return None if row is None else Decision(**row._mapping)


def get_decision(engine: Engine, decision_id: int) -> Decision:
    """Return one event.

    Raises:
        NotFoundError: If there is none of this id.
    """
    if not 0 < decision_id <= LARGEST_ID:
        raise NotFoundError(
            f"Found no decision with id {decision_id}. Choose one from the history."
        )
    with reading(engine) as connection:
        return decision_in(connection, int(decision_id))


def _lock_example(connection: Connection, example_id: int) -> Row[*tuple[Any, ...]]:
    """Return the example with its version and its project's classes, for us alone.

    SQLite's write lock is held already; on PostgreSQL the row is locked, so that of two
    simultaneous decisions the second one waits, and then sees the first.
    """
    if 0 < example_id <= LARGEST_ID:
        example_id = int(example_id)
        lock = select(ExampleRow.id).where(ExampleRow.id == example_id)
        connection.execute(lock.with_for_update(key_share=True))
        # A statement of its own: one that waited for the lock would still see the old events.
        row = connection.execute(
            select(
                ExampleRow.id,
                ExampleRow.project_id,
                ExampleRow.given_label,
                ExampleRow.given_value,
                ProjectRow.classes,
                ProjectRow.task,
                version_of(ExampleRow.id).label("version"),
            )
            .join(ProjectRow, ProjectRow.id == ExampleRow.project_id)
            .where(ExampleRow.id == example_id, is_shown)
        ).one_or_none()
        if row is not None:
            return row
    raise NotFoundError(f"Found no example with id {example_id}. Open one from the queue instead.")


def _check_correction(new: NewDecision, example: Row[*tuple[Any, ...]]) -> None:
    rules.check_correction(
        new.action, new.new_label, new.new_value, regression=example.task == "regression"
    )
    rules.check_new_label(new.new_label, example.given_label, example.classes)
    rules.check_new_value(new.new_value, example.given_value)


def _check_run(connection: Connection, run_id: int | None, project_id: int) -> None:
    if run_id is None:
        return
    found = connection.scalar(
        select(RunRow.id).where(RunRow.id == int(run_id), RunRow.project_id == project_id)
    )
    if found is None:
        raise NotFoundError(
            f"Found no run with id {run_id} in the example's project. Open the queue again."
        )


def _check_version(connection: Connection, example: Row[*tuple[Any, ...]], expected: int) -> None:
    if example.version == expected:
        return
    if expected > example.version or expected < 0:
        raise StaleDecisionError(
            f"The screen showed version {expected} of this example, but it has {example.version} "
            "events. Nothing was recorded. Reload the page and decide again."
        )
    raise _stale(connection, example, expected)


def _check_effective(
    connection: Connection, example: Row[*tuple[Any, ...]], undone: Decision
) -> None:
    on_top = connection.scalar(
        select(effective.c.id).where(effective.c.example_id == undone.example_id)
    )
    if on_top != undone.id:
        raise _stale(connection, example, undone.version)


def _stale(connection: Connection, example: Row[*tuple[Any, ...]], seen: int) -> StaleDecisionError:
    events = decisions_after(connection, example.id, seen, TOLD_EVENTS)
    told = "; then ".join(describe(one, example.classes) for one in events)
    return StaleDecisionError(
        f"Meanwhile {told}. Nothing of yours was recorded; open the example again if you would "
        "decide otherwise."
    )


def _raise_if_stale(engine: Engine, example_id: int, seen: int, error: IntegrityError) -> None:
    """Raise the stale decision behind a violated constraint, if that is what it was."""
    with reading(engine) as connection:
        example = _lock_example(connection, example_id)
        if example.version > seen:
            raise _stale(connection, example, seen) from error


def _append(
    connection: Connection, values: dict[str, Any], reviewer: str, identity_source: str
) -> Decision:
    reviewer_id = reviewer_in(connection, reviewer, identity_source).id
    event = insert(DecisionRow).values(reviewer_id=reviewer_id, created_at=utc_now(), **values)
    decision_id = connection.scalars(event.returning(DecisionRow.id)).one()
    return decision_in(connection, decision_id)
