"""What only a lead may do to decisions, where there is a lead: undo others', overrule, settle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from relabel.db.decisions.kinds import UNDO
from relabel.db.schema import DEFERRING, effective
from relabel.db.team.reviewers import Reviewer, refuse


def check_right(connection: Connection, by: Reviewer, values: Mapping[str, Any]) -> None:
    """Check that a person may append an event.

    Args:
        connection: In the transaction that appends it.
        by: The person.
        values: Of the event's row.

    Raises:
        NotAllowedError: If it takes back, overrules or settles what others decided, and there is
            a lead, who is somebody else.
    """
    if by.may_lead:
        return
    standing = connection.execute(
        select(effective.c.reviewer_id, effective.c.action).where(
            effective.c.example_id == values["example_id"]
        )
    ).one_or_none()
    reviewer_id, action = (None, None) if standing is None else tuple(standing)
    if deed := find_excess(by, values, reviewer_id, action):
        raise refuse(connection, deed)


def find_excess(
    by: Reviewer,
    values: Mapping[str, Any],
    standing_reviewer: int | None,
    standing_action: str | None,
) -> str | None:
    """Return what an event would do that its person may not, in words; None where all is well.

    Args:
        by: The person.
        values: Of the event's row: "action" and "source".
        standing_reviewer: The id of who made the decision in force, if any.
        standing_action: What that decided.
    """
    if by.may_lead:
        return None
    if values["source"] == "team":
        return "settle what two people answered differently"
    if standing_reviewer is None or standing_reviewer == by.id:
        return None
    if values["action"] == UNDO.code:
        return "take back what somebody else decided"
    return None if standing_action in DEFERRING else "decide otherwise than somebody else did"
