"""The events as they are kept: reading them, and telling them in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from tracin_core.errors import NotFoundError
from tracin_core.reviews.decision_kinds import find_kind
from tracin_core.reviews.schema import DecisionRow, ReviewerRow


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


def select_decisions() -> Select[*tuple[Any, ...]]:
    """Return a query whose rows are the fields of `Decision`."""
    return select(*DECISION_COLUMNS).join_from(
        DecisionRow, ReviewerRow, ReviewerRow.id == DecisionRow.reviewer_id
    )


def decision_in(connection: Connection, decision_id: int) -> Decision:
    """Return one event.

    Raises:
        NotFoundError: If there is none of this id.
    """
    query = select_decisions().where(DecisionRow.id == decision_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(
            f"Found no decision with id {decision_id}. Choose one from the history."
        )
    return Decision(**row._mapping)


def decisions_after(
    connection: Connection, example_id: int, version: int, limit: int
) -> list[Decision]:
    """Return the newest events of an example after a version, oldest first."""
    rows = connection.execute(
        select_decisions()
        .where(DecisionRow.example_id == example_id, DecisionRow.version > version)
        .order_by(DecisionRow.version.desc())
        .limit(limit)
    ).all()
    return [Decision(**row._mapping) for row in reversed(rows)]


def describe(decision: Decision, classes: Sequence[str]) -> str:
    """Tell an event in plain words: "Ann relabelled it from 'cat' to 'dog' (2026-05-04 …)"."""
    if decision.given_value is not None:
        what, given = "value", format_value(decision.given_value)
        new = format_value(decision.new_value)
    else:
        what, given = "label", f"'{classes[decision.given_label]}'"
        new = f"'{classes[decision.new_label or 0]}'"
    deed = find_kind(decision.action).told.format(what=what, given=given, new=new)
    when = decision.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{decision.reviewer} {deed} ({when})"


def format_value(value: float | None) -> str:
    """Return a number as people write it: 3 for 3.0, and no digit that was not entered."""
    return "" if value is None else repr(float(value)).removesuffix(".0")
