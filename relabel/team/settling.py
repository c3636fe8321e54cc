"""Settling what two people have answered differently: one of the two answers comes into force."""

from __future__ import annotations

from sqlalchemy import Engine

from relabel.db.decisions.recording import Decision, NewDecision, record_decision
from relabel.db.team.opinions import AnswerPair
from relabel.db.team.reviewers import Identity


def list_disagreements(pairs: list[AnswerPair]) -> list[AnswerPair]:
    """Return the pairs that differ and that nobody has settled."""
    return [one for one in pairs if one.is_open and not one.agrees]


def settle(engine: Engine, pair: AnswerPair, *, second: bool, by: Identity) -> Decision:
    """Bring one of two answers into force, by a decision on top of the first one.

    Args:
        engine: The database.
        pair: What the two have answered.
        second: Whether the second answer is the right one, rather than the first.
        by: Who settles.

    Returns:
        The decision, which settles the first answer too where that was right.

    Raises:
        NotAllowedError: If there is a lead, and it is somebody else.
        StaleDecisionError: If somebody has decided about the example meanwhile.
        DatabaseError: If it could not be written.
    """
    whose = pair.second if second else pair.first
    return record_decision(
        engine,
        NewDecision(
            example_id=pair.example_id,
            expected_version=pair.version,
            reviewer=by.name,
            action=pair.second_action if second else pair.first_action,
            new_label=pair.second_label if second else pair.first_label,
            new_value=pair.second_value if second else pair.first_value,
            note=f"Settled between {pair.first} and {pair.second}, as {whose} answered.",
            source="team",
            identity_source=by.source,
        ),
    )
