"""What only a lead may do to decisions, where there is a lead: undo others', overrule, settle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from relabel.db.decision_kinds import UNDO
from relabel.db.reviewers import Reviewer, refuse
from relabel.db.schema import DEFERRING, effective


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
    if values["source"] == "team":
        raise refuse(connection, "settle what two people answered differently")
    standing = connection.execute(
        select(effective.c.reviewer_id, effective.c.action).where(
            effective.c.example_id == values["example_id"]
        )
    ).one_or_none()
    if standing is None or standing.reviewer_id == by.id:
        return
    if values["action"] == UNDO.code:
        raise refuse(connection, "take back what somebody else decided")
    if standing.action not in DEFERRING:
        raise refuse(connection, "decide otherwise than somebody else did")
