"""Decisions: recorded and undone as events that are appended and never changed.

An event is checked by itself first (action, note, new label or value) and then, inside the
transaction that appends it, against the example's version: what somebody else decided since the
screen was drawn makes it stale, and the error names who decided what. `relabel.db.schema` says
how events become the state of an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Row, Select, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from relabel.db.decisions.audit import NOTHING_SHOWN, Shown, describe_decision, describe_undo
from relabel.db.decisions.checks import (
    check_action,
    check_correction,
    check_mark,
    check_new_label,
    check_new_value,
    check_note,
    check_numbers,
    check_source,
    check_token,
    format_value,
)
from relabel.db.decisions.kinds import UNDO, find_kind
from relabel.db.engine import reading, writing
from relabel.db.examples import LARGEST_ID
from relabel.db.schema import (
    DecisionRow,
    ExampleRow,
    ProjectRow,
    ReviewerRow,
    RunRow,
    effective,
    is_shown,
    utc_now,
    version_of,
)
from relabel.db.team.leases import end_leases
from relabel.db.team.reviewers import is_named, reviewer_in
from relabel.db.team.rights import check_right
from relabel.db.team.second_looks import note_first_answer
from relabel.errors import (
    InvalidDecisionError,
    NotAllowedError,
    NotFoundError,
    StaleDecisionError,
)
from tracin_core.errors import TracInError

# Newest events that are told of an example that others have decided.
TOLD_EVENTS = 3


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One event.

    Attributes:
        version: The example's version that the event made; the first is 1.
        given_label: The label that was judged, copied so that the event explains itself.
        given_value: For regression the number that was judged, new_value the one it was corrected
            to; the labels then mean nothing.
        undoes: The decision that this event takes back, for "undo" only.
        created_at: UTC.
        seconds_spent: From the example's appearance to the press.
        source: Where it was decided.
        rank: Rank in the queue it came from; score: the signal's value there; run_id: the run.
    """

    id: int
    example_id: int
    version: int
    reviewer: str
    identity_source: str
    action: str
    given_label: int
    new_label: int | None
    note: str
    undoes: int | None
    created_at: datetime
    seconds_spent: float | None
    source: str
    rank: int | None
    score: float | None
    run_id: int | None
    given_value: float | None = None
    new_value: float | None = None


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
        token: Random, of the press: sent again, the decision is not recorded again.
        mark: Of the example that was on the screen, as `mark_example` makes it: a press that waited
            may arrive where the same number is another example. None where that cannot be.
        shown: The ranking and the suggestion on the screen.
        stated_at: When it was decided, as the file says that it is imported from.
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
    token: str | None = None
    mark: str | None = None
    shown: Shown = NOTHING_SHOWN
    stated_at: datetime | None = None


DECISION_COLUMNS = (
    DecisionRow.id,
    DecisionRow.example_id,
    DecisionRow.version,
    ReviewerRow.name.label("reviewer"),
    ReviewerRow.identity_source,
    DecisionRow.action,
    DecisionRow.given_label,
    DecisionRow.new_label,
    DecisionRow.note,
    DecisionRow.undoes,
    DecisionRow.created_at,
    DecisionRow.seconds_spent,
    DecisionRow.source,
    DecisionRow.rank,
    DecisionRow.score,
    DecisionRow.run_id,
    DecisionRow.given_value,
    DecisionRow.new_value,
)


def record_decision(engine: Engine, new: NewDecision) -> Decision:
    """Append a decision; when this returns, it is on the disk.

    Args:
        engine: The database.
        new: The decision, with the version of the example that the person saw.

    Returns:
        The event; of a token that was recorded before, the one that it made then.

    Raises:
        StaleDecisionError: If somebody decided about the example meanwhile; the message says
            who and what. Nothing was recorded.
        InvalidDecisionError: If the decision makes no sense.
        NotFoundError: If there is no such example, or the run is not of its project.
        DatabaseError: If it could not be written.
    """
    _check_alone(new)
    try:
        with writing(engine) as connection:
            return _record(connection, new)
    except IntegrityError as error:
        _raise_if_stale(engine, new.example_id, new.expected_version, error)
        raise


# Why one of several is not recorded, and the others are.
_REFUSALS = (StaleDecisionError, InvalidDecisionError, NotAllowedError, NotFoundError)


def record_each(engine: Engine, decisions: Sequence[NewDecision]) -> list[Decision | TracInError]:
    """Append some decisions in one transaction; each is refused by itself.

    Others who write wait meanwhile, a millisecond or two a decision.

    Args:
        engine: The database.
        decisions: As for `record_decision`.

    Returns:
        For each what `record_decision` returns, or the error that it raises.

    Raises:
        DatabaseError: If they could not be written. Then none of them was recorded.
    """
    made: list[Decision | TracInError] = []
    with writing(engine) as connection:
        _lock_all(connection, decisions)
        for new in decisions:
            try:
                _check_alone(new)
                # So that nothing is left of one that is refused half way.
                with connection.begin_nested():
                    made.append(_record(connection, new))
            except _REFUSALS as error:
                made.append(error)
            except IntegrityError:
                # Its token came from elsewhere at the same moment: as if it had come before.
                earlier = None if new.token is None else _of_token(connection, new.token)
                if earlier is None:
                    raise
                made.append(earlier)
    return made


def _lock_all(connection: Connection, decisions: Sequence[NewDecision]) -> None:
    """Lock the examples in one order, so that two who record many never wait for each other."""
    if connection.dialect.name != "sqlite":
        ids = sorted({int(new.example_id) for new in decisions if 0 < new.example_id <= LARGEST_ID})
        of_these = select(ExampleRow.id).where(ExampleRow.id.in_(ids)).order_by(ExampleRow.id)
        connection.execute(of_these.with_for_update(key_share=True)).all()


def _check_alone(new: NewDecision) -> None:
    """Check what can be checked of a decision without its example."""
    check_action(new.action)
    check_note(new.note)
    check_source(new.source)
    check_numbers(new.seconds_spent, new.rank, new.score)
    check_token(new.token)


def _record(connection: Connection, new: NewDecision) -> Decision:
    example = _lock_example(connection, new.example_id)
    if earlier := _find_repeated(connection, new.token, new.example_id, new.action):
        return earlier
    check_mark(new.mark, example.created_at, example.key)
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
        "token": new.token,
    }
    values |= describe_decision(connection, example, new)
    made = _append(connection, values, new.reviewer, new.identity_source)
    note_first_answer(connection, example.settings, example.key, values)
    return made


def undo_decision(
    engine: Engine,
    decision_id: int,
    *,
    reviewer: str,
    note: str = "",
    source: str = "history",
    identity_source: str = "typed",
    token: str | None = None,
) -> Decision:
    """Append an event that takes a decision back; the one below it, if any, is in force again.

    Args:
        engine: The database.
        decision_id: The effective decision of its example.
        reviewer: Who undoes; need not be who decided.
        note: Why.
        source: Where it was undone, as in `NewDecision`.
        identity_source: As in `NewDecision`.
        token: As in `NewDecision`.

    Returns:
        The undo event, which is a version of the example of its own.

    Raises:
        StaleDecisionError: If the decision is undone already, or another one lies on top.
        InvalidDecisionError: If the event is itself an undo.
        NotFoundError: If there is no such decision.
        DatabaseError: If it could not be written.
    """
    check_note(note)
    check_source(source)
    check_token(token)
    undone = get_decision(engine, decision_id)
    if undone.action == UNDO.code:
        raise InvalidDecisionError(
            "This event is an undo, which cannot be undone. Decide about the example again instead."
        )
    try:
        with writing(engine) as connection:
            example = _lock_example(connection, undone.example_id)
            if earlier := _find_repeated(connection, token, undone.example_id, UNDO.code):
                return earlier
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
                "token": token,
            }
            values |= describe_undo(connection, example, undone)
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
            .where(effective.c.project_id == project_id, is_named(reviewer))
            .order_by(effective.c.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = select_decisions().where(DecisionRow.id == newest)
        row = connection.execute(query).one_or_none()
        return None if row is None else Decision(**row._mapping)


def find_by_token(engine: Engine, token: str) -> Decision | None:
    """Return the event that a press made, or None where it was not recorded."""
    check_token(token)
    with reading(engine) as connection:
        return _of_token(connection, token)


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


def decision_in(connection: Connection, decision_id: int) -> Decision:
    """Return one event.

    Raises:
        NotFoundError: If there is none of this id.
    """
    row = connection.execute(_OF_ID, {"wanted": decision_id}).one_or_none()
    if row is None:
        raise NotFoundError(
            f"Found no decision with id {decision_id}. Choose one from the history."
        )
    return Decision(**row._mapping)


def describe_events_after(
    connection: Connection, example_id: int, version: int, classes: Sequence[str]
) -> str:
    """Return in plain words the newest events of an example after a version; "" without any."""
    rows = connection.execute(
        select_decisions()
        .where(DecisionRow.example_id == example_id, DecisionRow.version > version)
        .order_by(DecisionRow.version.desc())
        .limit(TOLD_EVENTS)
    ).all()
    return "; then ".join(describe(Decision(**row._mapping), classes) for row in reversed(rows))


def select_decisions() -> Select[*tuple[Any, ...]]:
    """Return a query whose rows are the fields of `Decision`."""
    return select(*DECISION_COLUMNS).join_from(
        DecisionRow, ReviewerRow, ReviewerRow.id == DecisionRow.reviewer_id
    )


_OF_TOKEN = select_decisions().where(DecisionRow.token == bindparam("wanted"))
_OF_ID = select_decisions().where(DecisionRow.id == bindparam("wanted", type_=BigInteger))


def describe(decision: Decision, classes: Sequence[str]) -> str:
    """Return an event in plain words: "Ann relabelled it from 'cat' to 'dog' (2026-05-04 …)"."""
    if decision.given_value is not None:
        what, given = "value", format_value(decision.given_value)
        new = format_value(decision.new_value)
    else:
        what, given = "label", f"'{classes[decision.given_label]}'"
        new = f"'{classes[decision.new_label or 0]}'"
    deed = find_kind(decision.action).told.format(what=what, given=given, new=new)
    when = decision.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{decision.reviewer} {deed} ({when})"


# Made once: building a statement takes longer than these take to answer.
_TO_LOCK = (
    select(ExampleRow.id)
    .where(ExampleRow.id == bindparam("example_id", type_=BigInteger))
    .with_for_update(key_share=True)
)
_LOCKED = (
    select(
        ExampleRow.id,
        ExampleRow.project_id,
        ExampleRow.key,
        ExampleRow.given_label,
        ExampleRow.given_value,
        ProjectRow.created_at,
        ProjectRow.classes,
        ProjectRow.task,
        ProjectRow.settings,
        version_of(ExampleRow.id).label("version"),
    )
    .join(ProjectRow, ProjectRow.id == ExampleRow.project_id)
    .where(ExampleRow.id == bindparam("example_id", type_=BigInteger), is_shown)
)


def _lock_example(connection: Connection, example_id: int) -> Row[*tuple[Any, ...]]:
    """Return the example with its version and its project's classes, for us alone.

    SQLite's write lock is held already; on PostgreSQL the row is locked, so that of two
    simultaneous decisions the second one waits, and then sees the first.
    """
    if 0 < example_id <= LARGEST_ID:
        wanted = {"example_id": int(example_id)}
        if connection.dialect.name != "sqlite":
            connection.execute(_TO_LOCK, wanted)
        # A statement of its own: one that waited for the lock would still see the old events.
        row = connection.execute(_LOCKED, wanted).one_or_none()
        if row is not None:
            return row
    raise NotFoundError(f"Found no example with id {example_id}. Open one from the queue instead.")


def _of_token(connection: Connection, token: str) -> Decision | None:
    row = connection.execute(_OF_TOKEN, {"wanted": token}).one_or_none()
    return None if row is None else Decision(**row._mapping)


def _find_repeated(
    connection: Connection, token: str | None, example_id: int, action: str
) -> Decision | None:
    """Return the event that a token has made before; the example's lock is held already."""
    earlier = None if token is None else _of_token(connection, token)
    if earlier is not None and (earlier.example_id, earlier.action) != (example_id, action):
        raise InvalidDecisionError(
            "The token of this decision is that of another one. Nothing was recorded. Reload the "
            "page and decide again."
        )
    return earlier


def _check_correction(new: NewDecision, example: Row[*tuple[Any, ...]]) -> None:
    check_correction(
        new.action, new.new_label, new.new_value, regression=example.task == "regression"
    )
    check_new_label(new.new_label, example.given_label, example.classes)
    check_new_value(new.new_value, example.given_value)


_RUN_OF_PROJECT = select(RunRow.id).where(
    RunRow.id == bindparam("run", type_=BigInteger), RunRow.project_id == bindparam("project")
)


def _check_run(connection: Connection, run_id: int | None, project_id: int) -> None:
    if run_id is None:
        return
    wanted = {"run": int(run_id), "project": project_id}
    if connection.scalar(_RUN_OF_PROJECT, wanted) is None:
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
    told = describe_events_after(connection, example.id, seen, example.classes)
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


_EVENT = insert(DecisionRow).returning(DecisionRow.id)
_ENTERED = {one.name for one in fields(Decision)} - {"id", "reviewer", "identity_source"}


def _append(
    connection: Connection, values: dict[str, Any], reviewer: str, identity_source: str
) -> Decision:
    by = reviewer_in(connection, reviewer, identity_source)
    check_right(connection, by, values)
    entered = {**values, "reviewer_id": by.id, "created_at": utc_now()}
    decision_id = connection.scalars(_EVENT, entered).one()
    end_leases(connection, [values["example_id"]])
    # What was entered is what stands there: asking for it again would be one statement more.
    event: dict[str, Any] = {name: entered.get(name) for name in _ENTERED}
    return Decision(id=decision_id, reviewer=by.name, identity_source=by.identity_source, **event)
