"""Second looks: which examples a second person is to see, blind, and who may be handed them.

A project says for what share of its examples two answers are wanted. Which ones is not chosen but
drawn: by a hash of the example's stable key and a seed that is kept with the project, so that
anybody can check afterwards that nobody had a hand in it. An example that is drawn is noted when it
is decided first, and no longer when a second person has answered.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import aliased

from relabel.db.decisions.kinds import UNDO
from relabel.db.engine import reading, writing
from relabel.db.project_rules import project_in
from relabel.db.schema import (
    DEFERRING,
    DecisionRow,
    ExampleRow,
    OpinionRow,
    ProjectRow,
    ReviewerRow,
    ScoreRow,
    SecondLookRow,
    effective,
)
from relabel.db.team.reviewers import Identity, check_lead
from relabel.errors import InvalidDecisionError

# Where in a project's settings the wish is kept.
SETTING = "second_opinions"
# Decisions that are no first answer: a lead settles with the one, the other comes from elsewhere.
_NO_FIRST_ANSWER = ("team", "import")
_Undone = aliased(OpinionRow)


@dataclass(frozen=True)
class SecondOpinions:
    """For how many examples a project wants a second answer.

    Attributes:
        share: Of those that are decided, from 0 to 1.
        seed: With an example's key it says whether the example is drawn.
    """

    share: float = 0.0
    seed: str = ""

    def is_drawn(self, key: str) -> bool:
        """Return whether an example is drawn.

        The first eight bytes of SHA-256 of seed, NUL and key, read as a fraction of 2^64, lie
        below the share: of a greater share all that were drawn before are drawn again.
        """
        digest = sha256(f"{self.seed}\0{key}".encode(errors="replace")).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64


def read_wish(settings: Mapping[str, Any]) -> SecondOpinions:
    """Return what a project's settings say; what they do not say rightly is none."""
    found = settings.get(SETTING)
    if not isinstance(found, Mapping):
        return SecondOpinions()
    share, seed = found.get("share"), found.get("seed")
    if not isinstance(share, int | float) or not isinstance(seed, str) or not 0 <= share <= 1:
        return SecondOpinions()
    return SecondOpinions(float(share), seed)


def set_share(engine: Engine, project_id: int, share: float, *, by: Identity) -> SecondOpinions:
    """Set for what share of a project's examples a second answer is wanted.

    What has been decided already is drawn now, by the same seed as before.

    Args:
        engine: The database.
        project_id: The project.
        share: From 0 to 1.
        by: Who sets it.

    Raises:
        InvalidDecisionError: If the share is none.
        NotAllowedError: If there is a lead, and it is somebody else.
        NotFoundError: If there is no such project.
    """
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise InvalidDecisionError(f"Found the share {share}. Expected one from 0 to 1.")
    check_lead(engine, by, "say how many examples two people see")
    with writing(engine) as connection:
        project = project_in(connection, project_id)
        seed = read_wish(project.settings).seed or secrets.token_hex(8)
        wish = SecondOpinions(float(share), seed)
        kept = {**project.settings, SETTING: {"share": wish.share, "seed": wish.seed}}
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == project_id).values(settings=kept)
        )
        connection.execute(delete(SecondLookRow).where(SecondLookRow.project_id == project_id))
        _draw_decided(connection, project_id, wish)
    return wish


def _draw_decided(connection: Connection, project_id: int, wish: SecondOpinions) -> None:
    """Note the examples that were decided before the share was set."""
    if not wish.share:
        return
    rows = connection.execute(
        select(ExampleRow.id, ExampleRow.key)
        .join(effective, effective.c.example_id == ExampleRow.id)
        .where(
            effective.c.project_id == project_id,
            effective.c.action.not_in(DEFERRING),
            ~has_opinion(ExampleRow.id),
        )
    ).all()
    drawn = [
        {"example_id": row.id, "project_id": project_id} for row in rows if wish.is_drawn(row.key)
    ]
    if drawn:
        connection.execute(insert(SecondLookRow), drawn)


def note_first_answer(
    connection: Connection, settings: Mapping[str, Any], key: str, values: Mapping[str, Any]
) -> None:
    """Note an example that has just been decided, if it is drawn and nobody has looked twice.

    Args:
        connection: In the transaction of the decision.
        settings: Of the project.
        key: Of the example.
        values: Of the decision's row.
    """
    is_first = values["source"] not in _NO_FIRST_ANSWER and values["action"] not in DEFERRING
    if is_first and read_wish(settings).is_drawn(key):
        want_second_look(connection, values["project_id"], values["example_id"])


def want_second_look(connection: Connection, project_id: int, example_id: int) -> None:
    """Note an example for a second person, unless it is noted or has been seen by one.

    The example's lock is held, so nobody notes it at the same time.
    """
    is_noted = exists().where(SecondLookRow.example_id == example_id)
    if not connection.scalar(select(is_noted | has_opinion(example_id))):
        connection.execute(
            insert(SecondLookRow).values(example_id=example_id, project_id=project_id)
        )


def has_opinion(example_id: Any) -> ColumnElement[bool]:
    """Return the condition that a second person has answered, and not taken it back."""
    return exists().where(
        OpinionRow.example_id == example_id,
        OpinionRow.action.not_in((*DEFERRING, UNDO.code)),
        ~exists().where(_Undone.undoes == OpinionRow.id),
    )


def find_looks(
    connection: Connection,
    project_id: int,
    who: Identity,
    *,
    scoring_id: int,
    signal: str,
    conditions: Sequence[ColumnElement[bool]] = (),
    count: int,
) -> list[Row[*tuple[Any, ...]]]:
    """Return examples that a person may be handed as the second one, the most suspect first.

    Args:
        connection: A connection.
        project_id: The project.
        who: The person, who has neither decided about them nor answered before.
        scoring_id: Ranks them.
        signal: By which it does.
        conditions: On a row of `score`.
        count: At most so many.

    Returns:
        Rows of rank, example_id, value and look, which is the decision that stands.
    """
    return list(
        connection.execute(
            select(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value, effective.c.id.label("look"))
            .select_from(SecondLookRow)
            .join(effective, effective.c.example_id == SecondLookRow.example_id)
            .join(ScoreRow, ScoreRow.example_id == SecondLookRow.example_id)
            .where(
                SecondLookRow.project_id == project_id,
                ScoreRow.scoring_id == scoring_id,
                ScoreRow.signal == signal,
                *_may_look(who),
                *conditions,
            )
            .order_by(ScoreRow.rank)
            .limit(count)
        ).all()
    )


def find_look(engine: Engine, example_id: int, who: Identity) -> int | None:
    """Return the decision about an example that a person is to look at a second time, or None."""
    query = (
        select(effective.c.id)
        .select_from(SecondLookRow)
        .join(effective, effective.c.example_id == SecondLookRow.example_id)
        .where(SecondLookRow.example_id == example_id, *_may_look(who))
    )
    with reading(engine) as connection:
        return connection.scalar(query)


def find_wanted(engine: Engine, example_ids: Collection[int]) -> set[int]:
    """Return those of some examples that still wait for a second person."""
    query = select(SecondLookRow.example_id).where(SecondLookRow.example_id.in_(example_ids))
    with reading(engine) as connection:
        return set(connection.scalars(query))


def _may_look(who: Identity) -> list[ColumnElement[bool]]:
    """Return the conditions under which a person is the second one."""
    me = (ReviewerRow.name_key == who.key, ReviewerRow.identity_source == who.source)
    return [
        effective.c.action.not_in(DEFERRING),
        ~exists().where(
            DecisionRow.example_id == SecondLookRow.example_id,
            DecisionRow.reviewer_id == ReviewerRow.id,
            DecisionRow.action.not_in((*DEFERRING, UNDO.code)),
            *me,
        ),
        # One who skipped it leaves it to others.
        ~exists().where(
            OpinionRow.example_id == SecondLookRow.example_id,
            OpinionRow.reviewer_id == ReviewerRow.id,
            OpinionRow.action != UNDO.code,
            ~exists().where(_Undone.undoes == OpinionRow.id),
            *me,
        ),
    ]


def count_waiting(engine: Engine, project_id: int) -> int:
    """Return how many examples wait for a second person."""
    query = (
        select(func.count())
        .select_from(SecondLookRow)
        .join(effective, effective.c.example_id == SecondLookRow.example_id)
        .where(SecondLookRow.project_id == project_id, effective.c.action.not_in(DEFERRING))
    )
    with reading(engine) as connection:
        return connection.scalars(query).one()
