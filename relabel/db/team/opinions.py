"""Opinions: what a second person answers, appended beside the decisions and changing no label.

The first decision stays in force, whatever the second person says; a lead settles what differs by
a decision on top. An opinion names the decision that it is the second look at: where that one has
been taken back or overruled meanwhile, there is nothing to have a second opinion on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, exists, insert, select
from sqlalchemy.orm import aliased

from relabel.db.decisions.checks import (
    check_action,
    check_correction,
    check_mark,
    check_new_label,
    check_new_value,
    check_note,
    check_numbers,
    check_token,
)
from relabel.db.decisions.kinds import UNDO
from relabel.db.decisions.recording import NewDecision
from relabel.db.engine import reading, writing
from relabel.db.examples import LARGEST_ID
from relabel.db.schema import (
    DEFERRING,
    DecisionRow,
    ExampleRow,
    OpinionRow,
    ProjectRow,
    ReviewerRow,
    SecondLookRow,
    effective,
    is_shown,
    utc_now,
    version_of,
)
from relabel.db.team.leases import end_leases
from relabel.db.team.reviewers import reviewer_in
from relabel.db.team.second_looks import has_opinion, want_second_look
from relabel.errors import InvalidDecisionError, NotFoundError, StaleDecisionError

_GONE = (
    "The answer that this was a second look at is no longer the one in force. Nothing was recorded."
)


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """A second answer.

    Attributes:
        decision_id: The first answer.
        given_label: The label that was judged, given_value the number, for regression.
        version: Of the example; an opinion makes no new one.
    """

    id: int
    example_id: int
    decision_id: int
    reviewer: str
    action: str
    given_label: int
    given_value: float | None
    new_label: int | None
    new_value: float | None
    note: str
    version: int


def record_opinion(engine: Engine, new: NewDecision, decision_id: int) -> Opinion:
    """Append a second answer; when this returns, it is on the disk.

    Args:
        engine: The database.
        new: As for a decision; the version is not looked at.
        decision_id: The first answer, which must be in force and somebody else's.

    Raises:
        StaleDecisionError: If the first answer is no longer in force, or another person has given
            the second one.
        InvalidDecisionError: If it makes no sense, or both answers would be one person's.
        NotFoundError: If there is no such example.
        DatabaseError: If it could not be written.
    """
    check_action(new.action)
    check_note(new.note)
    check_numbers(new.seconds_spent, new.rank, new.score)
    check_token(new.token)
    with writing(engine) as connection:
        example = _lock(connection, new.example_id)
        if new.token is not None and (earlier := _of_token(connection, new.token)):
            return earlier
        check_mark(new.mark, example.created_at, example.key)
        check_correction(
            new.action, new.new_label, new.new_value, regression=example.task == "regression"
        )
        check_new_label(new.new_label, example.given_label, example.classes)
        check_new_value(new.new_value, example.given_value)
        reviewer = reviewer_in(connection, new.reviewer, new.identity_source)
        _check_first(connection, example.id, decision_id, reviewer.id)
        number = connection.scalars(
            insert(OpinionRow)
            .values(
                project_id=example.project_id,
                example_id=example.id,
                decision_id=decision_id,
                reviewer_id=reviewer.id,
                action=new.action,
                new_label=new.new_label,
                new_value=new.new_value,
                note=new.note,
                created_at=utc_now(),
                seconds_spent=new.seconds_spent,
                token=new.token,
            )
            .returning(OpinionRow.id)
        ).one()
        if new.action not in DEFERRING:
            connection.execute(delete(SecondLookRow).where(SecondLookRow.example_id == example.id))
        end_leases(connection, [example.id])
        return _get(connection, number)


def undo_opinion(
    engine: Engine, token: str, *, reviewer: str, identity_source: str, own_token: str | None
) -> Opinion | None:
    """Take back a person's own second answer by a new event; the example waits again.

    Args:
        engine: The database.
        token: Of the press that made it.
        reviewer: Who takes it back: the person who gave it.
        identity_source: How the person's name is known.
        own_token: Of the press that takes it back.

    Returns:
        What was taken back; None where the token made no opinion.

    Raises:
        InvalidDecisionError: If it is somebody else's.
        DatabaseError: If it could not be written.
    """
    check_token(token)
    check_token(own_token)
    with reading(engine) as connection:
        found = _of_token(connection, token)
    if found is None:
        return None
    with writing(engine) as connection:
        example = _lock(connection, found.example_id)
        by = reviewer_in(connection, reviewer, identity_source)
        if by.name != found.reviewer:
            raise InvalidDecisionError(f"{found.reviewer} gave this answer, and takes it back.")
        if not connection.scalar(select(exists().where(OpinionRow.undoes == found.id))):
            connection.execute(
                insert(OpinionRow).values(
                    project_id=example.project_id,
                    example_id=example.id,
                    decision_id=found.decision_id,
                    reviewer_id=by.id,
                    action=UNDO.code,
                    note="",
                    undoes=found.id,
                    created_at=utc_now(),
                    token=own_token,
                )
            )
            want_second_look(connection, example.project_id, example.id)
        return _get(connection, found.id)


def _lock(connection: Connection, example_id: int) -> Row[*tuple[Any, ...]]:
    """Return the example for us alone, as `relabel.db.decisions.recording` does for a decision."""
    if 0 < example_id <= LARGEST_ID:
        lock = select(ExampleRow.id).where(ExampleRow.id == example_id)
        connection.execute(lock.with_for_update(key_share=True))
        row = connection.execute(
            select(
                *(ExampleRow.id, ExampleRow.project_id, ExampleRow.key),
                *(ExampleRow.given_label, ExampleRow.given_value),
                *(ProjectRow.created_at, ProjectRow.classes, ProjectRow.task),
            )
            .join(ProjectRow, ProjectRow.id == ExampleRow.project_id)
            .where(ExampleRow.id == example_id, is_shown)
        ).one_or_none()
        if row is not None:
            return row
    raise NotFoundError(f"Found no example with id {example_id}. Open one from the queue instead.")


def _check_first(
    connection: Connection, example_id: int, decision_id: int, reviewer_id: int
) -> None:
    """Check that the first answer stands, is somebody else's, and has no second one yet."""
    standing = connection.scalar(
        select(effective.c.id).where(
            effective.c.example_id == example_id, effective.c.action.not_in(DEFERRING)
        )
    )
    if standing != decision_id:
        raise StaleDecisionError(_GONE)
    own = exists().where(
        DecisionRow.example_id == example_id,
        DecisionRow.reviewer_id == reviewer_id,
        DecisionRow.action.not_in((*DEFERRING, UNDO.code)),
    )
    if connection.scalar(select(own)):
        raise InvalidDecisionError(
            "A second opinion is another person's. Nothing was recorded: the first answer to this "
            "example is yours."
        )
    if connection.scalar(select(has_opinion(example_id))):
        raise StaleDecisionError(
            "Somebody else has given the second answer meanwhile. Nothing was recorded."
        )


_FIELDS = (
    OpinionRow.id,
    OpinionRow.example_id,
    OpinionRow.decision_id,
    ReviewerRow.name.label("reviewer"),
    OpinionRow.action,
    ExampleRow.given_label,
    ExampleRow.given_value,
    OpinionRow.new_label,
    OpinionRow.new_value,
    OpinionRow.note,
    version_of(OpinionRow.example_id).label("version"),
)


def _of_token(connection: Connection, token: str) -> Opinion | None:
    number = connection.scalar(select(OpinionRow.id).where(OpinionRow.token == token))
    return None if number is None else _get(connection, number)


def _get(connection: Connection, opinion_id: int) -> Opinion:
    row = connection.execute(
        select(*_FIELDS)
        .select_from(OpinionRow)
        .join(ExampleRow, ExampleRow.id == OpinionRow.example_id)
        .join(ReviewerRow, ReviewerRow.id == OpinionRow.reviewer_id)
        .where(OpinionRow.id == opinion_id)
    ).one()
    return Opinion(**row._mapping)


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """What two people have answered about one example.

    Attributes:
        example_id, key, given_label, given_value: Of the example.
        decision_id: The first answer.
        first, second: Names of the two people.
        first_action, first_label, first_value: What the first one has decided.
        second_action, second_label, second_value: What the second one has answered.
        version: Of the example.
        is_open: Whether the first answer is still the one in force: nobody has settled it.
    """

    example_id: int
    key: str
    text: str | None
    media_path: str | None
    given_label: int
    given_value: float | None
    decision_id: int
    first: str
    first_action: str
    first_label: int | None
    first_value: float | None
    second: str
    second_action: str
    second_label: int | None
    second_value: float | None
    version: int
    is_open: bool

    @property
    def agrees(self) -> bool:
        """Return whether both have answered the same."""
        return (self.first_action, self.first_label, self.first_value) == (
            self.second_action,
            self.second_label,
            self.second_value,
        )


def list_pairs(engine: Engine, project_id: int) -> list[AnswerPair]:
    """Return all examples that two people have answered, in the order of the second answers.

    A first answer that its own author took back is none, as is an opinion that was taken back.
    """
    second_person, undoing, undone = (
        aliased(ReviewerRow),
        aliased(DecisionRow),
        aliased(OpinionRow),
    )
    taken_back = exists().where(
        undoing.undoes == DecisionRow.id, undoing.reviewer_id == DecisionRow.reviewer_id
    )
    query = (
        select(
            OpinionRow.example_id,
            *(ExampleRow.key, ExampleRow.text, ExampleRow.media_path),
            *(ExampleRow.given_label, ExampleRow.given_value),
            OpinionRow.decision_id,
            ReviewerRow.name.label("first"),
            DecisionRow.action.label("first_action"),
            DecisionRow.new_label.label("first_label"),
            DecisionRow.new_value.label("first_value"),
            second_person.name.label("second"),
            OpinionRow.action.label("second_action"),
            OpinionRow.new_label.label("second_label"),
            OpinionRow.new_value.label("second_value"),
            version_of(OpinionRow.example_id).label("version"),
            exists().where(effective.c.id == DecisionRow.id).label("is_open"),
        )
        .select_from(OpinionRow)
        .join(DecisionRow, DecisionRow.id == OpinionRow.decision_id)
        .join(ExampleRow, ExampleRow.id == OpinionRow.example_id)
        .join(ReviewerRow, ReviewerRow.id == DecisionRow.reviewer_id)
        .join(second_person, second_person.id == OpinionRow.reviewer_id)
        .where(
            OpinionRow.project_id == project_id,
            OpinionRow.action.not_in((*DEFERRING, UNDO.code)),
            ~exists().where(undone.undoes == OpinionRow.id),
            ~taken_back,
        )
        .order_by(OpinionRow.id)
    )
    with reading(engine) as connection:
        return [
            AnswerPair(**{**row._mapping, "is_open": bool(row.is_open)})
            for row in connection.execute(query)
        ]
