"""What each person has done in a project."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sqlalchemy import Engine, select

from relabel.db.decisions.kinds import UNDO, list_codes
from relabel.db.engine import reading
from relabel.db.schema import DecisionRow, ReviewerRow
from relabel.db.team.opinions import AnswerPair


@dataclass(frozen=True)
class PersonFigures:
    """One person in one project.

    Attributes:
        name: As it was spelled first.
        identity_source: How the name is known.
        role: "reviewer" or "lead".
        decisions: Made, those taken back included, undos not.
        corrected: Of these, with another answer than the given one.
        seconds_median: A decision takes, where it was timed.
        last_at: When the last one was made.
        looked_twice: Examples that the person and another one have both answered.
        agreed: Of these, with the same answer.
    """

    name: str
    identity_source: str
    role: str
    decisions: int
    corrected: int
    seconds_median: float | None
    last_at: datetime
    looked_twice: int
    agreed: int


def measure_people(engine: Engine, project_id: int, pairs: list[AnswerPair]) -> list[PersonFigures]:
    """Return what each person has done, the busiest first.

    Args:
        engine: The database.
        project_id: The project.
        pairs: What each two have answered about one example.
    """
    query = (
        select(
            *(ReviewerRow.name, ReviewerRow.identity_source, ReviewerRow.role),
            *(DecisionRow.action, DecisionRow.seconds_spent, DecisionRow.created_at),
        )
        .join(DecisionRow, DecisionRow.reviewer_id == ReviewerRow.id)
        .where(DecisionRow.project_id == project_id, DecisionRow.action != UNDO.code)
        .order_by(DecisionRow.id)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    by_person = defaultdict(list)
    for row in rows:
        by_person[row.name, row.identity_source, row.role].append(row)
    correcting = list_codes("correct")
    found = []
    for (name, source, role), made in by_person.items():
        seconds = [row.seconds_spent for row in made if row.seconds_spent is not None]
        shared = [one for one in pairs if name in (one.first, one.second)]
        found.append(
            PersonFigures(
                name=name,
                identity_source=source,
                role=role,
                decisions=len(made),
                corrected=sum(row.action in correcting for row in made),
                seconds_median=median(seconds) if seconds else None,
                last_at=made[-1].created_at,
                looked_twice=len(shared),
                agreed=sum(one.agrees for one in shared),
            )
        )
    return sorted(found, key=lambda one: (-one.decisions, one.name))
