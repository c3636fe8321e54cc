"""Audits as they are stored: what was drawn, what was answered, what is handed out next.

Only answers that were given to an audit's items as they came, blind, count as answers; a decision
that the ranked queue, a batch or a file brought leaves the item open. Of several audits the newest
is the one that is asked.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, exists, func, insert, select
from sqlalchemy.orm import aliased

from relabel.db.decisions.kinds import UNDO, list_codes
from relabel.db.engine import reading
from relabel.db.schema import (
    DEFERRING,
    AuditItemRow,
    AuditRow,
    DecisionRow,
    ExampleRow,
    ReviewerRow,
    ScoreRow,
    utc_now,
)

Design = Literal["uniform", "weighted"]
DESIGNS: tuple[Design, ...] = ("uniform", "weighted")
# Where the answers of an audit come from; a lead settles what two people have answered.
SOURCE = "audit"
_COUNTS = (SOURCE, "team")
_WRONG = list_codes("correct", "exclude")
_Undo = aliased(DecisionRow)


@dataclass(frozen=True)
class Stratum:
    """The examples of one given label, or all of them, as the audit's draw saw them.

    Attributes:
        num_examples: How many there are.
        mean_guess: Mean of their guesses, 0 to 1.
        drawn: How probable it is that one draw is of them.
    """

    num_examples: int
    mean_guess: float
    drawn: float


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What an audit's draw was made from; kept as JSON.

    Attributes:
        num_examples: Train examples that could be drawn, those of the first positions.
        keys_digest: SHA-256 of their keys in the order of their positions.
        run: Key of the run whose guesses weigh a weighted draw, and whose ranking the items come
            with.
        guesses: How the guesses were made, in words; empty for a uniform draw.
        signal: By whose standardised score; a guess is the logistic function of
            ``slope * score + shift``.
        slope: Of that line.
        shift: Of that line.
        guesses_digest: SHA-256 of the guesses.
        strata: By given label; empty for regression.
        whole: All of them.
        mix_share: How much of what a person is handed is of the audit, 0 to 1.
        teaching_share: How many of the examples teach the queue's order instead of certifying
            recall, 0 to 1.
    """

    num_examples: int
    keys_digest: str
    run: str
    guesses: str
    signal: str
    slope: float
    shift: float
    guesses_digest: str
    strata: tuple[Stratum, ...]
    whole: Stratum
    mix_share: float
    teaching_share: float

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes an equal frame of."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Frame:
        """Return the frame that ``to_json`` described.

        Raises:
            LookupError, TypeError, ValueError: If it is none.
        """
        known: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__}
        known["strata"] = tuple(_stratum(one) for one in values["strata"])
        known["whole"] = _stratum(values["whole"])
        for name in ("num_examples", "mix_share", "teaching_share", "slope", "shift"):
            if type(known[name]) not in (int, float) or not math.isfinite(known[name]):
                raise ValueError(f"{name} is {known[name]!r:.40}")
        for name in ("keys_digest", "run", "guesses", "signal", "guesses_digest"):
            if not isinstance(known[name], str):
                raise ValueError(f"{name} is {known[name]!r:.40}")
        return cls(**known)


def _stratum(values: dict[str, Any]) -> Stratum:
    found = Stratum(
        int(values["num_examples"]), float(values["mean_guess"]), float(values["drawn"])
    )
    if not (found.num_examples >= 0 and 0 <= found.mean_guess <= 1 and 0 <= found.drawn < 1 + 1e-6):
        raise ValueError(f"{values!r:.80} is no part of a frame")
    return found


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A random draw.

    Attributes:
        by: Name of who had it drawn.
        design: "uniform", without repetition, or "weighted", with repetition.
        seed: Hexadecimal; with the frame it makes the same draws again.
        num_drawn: How many draws there are by now.
    """

    id: int
    project_id: int
    by: str
    created_at: datetime
    design: Design
    seed: str
    frame: Frame
    num_drawn: int

    @property
    def num_examples(self) -> int:
        """Examples that could be drawn, N."""
        return self.frame.num_examples

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """The frame by given label."""
        return self.frame.strata

    @property
    def whole(self) -> Stratum:
        """All of the frame."""
        return self.frame.whole


@dataclass(frozen=True, kw_only=True)
class AuditItem:
    """One draw and what it was answered.

    Attributes:
        place: 1 is the first that was drawn.
        given_label: Class index that is judged; 0 for regression.
        probability: Of this example, in one draw.
        guess: How probable an error was called.
        teaches: Whether its answer teaches the queue's order, and so certifies no recall.
        is_wrong: Whether it was corrected or excluded; None until it is answered.
        is_skipped: Whether somebody looked at it and could not say.
    """

    place: int
    example_id: int
    given_label: int
    probability: float
    guess: float
    teaches: bool
    is_wrong: bool | None
    is_skipped: bool


def find_audit(connection: Connection, project_id: int | ColumnElement[int]) -> Audit | None:
    """Return the newest audit of a project, or None."""
    return next(iter(list_audits(connection, project_id, limit=1)), None)


def list_audits(
    connection: Connection, project_id: int | ColumnElement[int], limit: int = 100
) -> list[Audit]:
    """Return a project's audits, the newest first."""
    drawn = (
        select(func.count())
        .where(AuditItemRow.audit_id == AuditRow.id)
        .correlate(AuditRow)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(AuditRow, ReviewerRow.name.label("by"), drawn.label("num_drawn"))
        .join(ReviewerRow, ReviewerRow.id == AuditRow.reviewer_id)
        .where(AuditRow.project_id == project_id)
        .order_by(AuditRow.id.desc())
        .limit(limit)
    ).all()
    return [
        Audit(
            id=row.id,
            project_id=row.project_id,
            by=row.by,
            created_at=row.created_at,
            design=row.design,
            seed=row.seed,
            frame=Frame.from_json(row.frame),
            num_drawn=row.num_drawn,
        )
        for row in rows
    ]


def read_audit(engine: Engine, project_id: int) -> Audit | None:
    """Return the newest audit of a project, or None."""
    with reading(engine) as connection:
        return find_audit(connection, project_id)


def enter_audit(
    connection: Connection,
    project_id: int,
    reviewer_id: int,
    design: Design,
    seed: str,
    frame: Frame,
) -> int:
    """Append an audit without draws, in the caller's transaction; return its id."""
    new = insert(AuditRow).values(
        project_id=project_id,
        reviewer_id=reviewer_id,
        created_at=utc_now(),
        design=design,
        seed=seed,
        frame=frame.to_json(),
    )
    return connection.scalars(new.returning(AuditRow.id)).one()


def enter_items(connection: Connection, audit_id: int, items: Iterable[AuditItem]) -> None:
    """Append draws to an audit."""
    rows = [
        {
            "audit_id": audit_id,
            "place": one.place,
            "example_id": one.example_id,
            "probability": one.probability,
            "guess": one.guess,
            "teaches": one.teaches,
        }
        for one in items
    ]
    if rows:
        connection.execute(insert(AuditItemRow), rows)


def list_items(connection: Connection, audit: Audit) -> list[AuditItem]:
    """Return the draws of an audit in their order, with what was answered."""
    verdicts = _read_verdicts(connection, audit.id)
    rows = connection.execute(
        select(AuditItemRow, ExampleRow.given_label)
        .join(ExampleRow, ExampleRow.id == AuditItemRow.example_id)
        .where(AuditItemRow.audit_id == audit.id)
        .order_by(AuditItemRow.place)
    ).all()
    return [
        AuditItem(
            place=row.place,
            example_id=row.example_id,
            given_label=row.given_label,
            probability=row.probability,
            guess=row.guess,
            teaches=row.teaches,
            is_wrong=None if action is None or action in DEFERRING else action in _WRONG,
            is_skipped=action is not None and action in DEFERRING,
        )
        for row in rows
        for action in [verdicts.get(row.example_id)]
    ]


def _read_verdicts(connection: Connection, audit_id: int) -> dict[int, str]:
    """Return what was answered last, blind, by example; a lead's settlement of it counts."""
    drawn = select(AuditItemRow.example_id).where(AuditItemRow.audit_id == audit_id)
    rows = connection.execute(
        select(DecisionRow.example_id, DecisionRow.source, DecisionRow.action)
        .where(
            DecisionRow.example_id.in_(drawn),
            DecisionRow.source.in_(_COUNTS),
            DecisionRow.action != UNDO.code,
            ~exists().where(_Undo.undoes == DecisionRow.id),
        )
        .order_by(DecisionRow.example_id, DecisionRow.version)
    ).all()
    found: dict[int, str] = {}
    for example_id, source, action in rows:
        if source == SOURCE or example_id in found:
            found[example_id] = action
    return found


def is_waiting(audit_id: int, example_id: Any) -> ColumnElement[bool]:
    """Return the condition that an example is of an audit and nobody has seen it there."""
    return exists().where(
        AuditItemRow.audit_id == audit_id, AuditItemRow.example_id == example_id
    ) & ~_has_answer(example_id)


def _has_answer(example_id: Any) -> ColumnElement[bool]:
    return exists().where(
        DecisionRow.example_id == example_id,
        DecisionRow.source == SOURCE,
        DecisionRow.action != UNDO.code,
        ~exists().where(_Undo.undoes == DecisionRow.id),
    )


def find_waiting(
    connection: Connection,
    audit_id: int,
    *,
    scoring_id: int,
    signal: str,
    conditions: Sequence[ColumnElement[bool]] = (),
    count: int,
) -> list[Row[*tuple[Any, ...]]]:
    """Return the next examples of an audit that nobody has seen, in the order of the draw.

    Args:
        connection: A connection.
        audit_id: The audit.
        scoring_id: Ranks them.
        signal: By which it does.
        conditions: On a row of `score`.
        count: At most so many.

    Returns:
        Rows of rank, example_id and value.
    """
    query: Select[*tuple[Any, ...]] = (
        select(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value)
        .select_from(AuditItemRow)
        .join(ScoreRow, ScoreRow.example_id == AuditItemRow.example_id)
        .where(
            AuditItemRow.audit_id == audit_id,
            ScoreRow.scoring_id == scoring_id,
            ScoreRow.signal == signal,
            ~_has_answer(AuditItemRow.example_id),
            *conditions,
        )
        .group_by(ScoreRow.rank, ScoreRow.example_id, ScoreRow.value)
        .order_by(func.min(AuditItemRow.place))
        .limit(count)
    )
    return list(connection.execute(query).all())


def find_unanswered(connection: Connection, audit: Audit, example_ids: Collection[int]) -> set[int]:
    """Return those of some examples that the audit still wants an answer about."""
    drawn = select(AuditItemRow.example_id).where(
        AuditItemRow.audit_id == audit.id, AuditItemRow.example_id.in_(sorted(example_ids))
    )
    found = set(connection.scalars(drawn))
    if not found:
        return found
    verdicts = _read_verdicts(connection, audit.id)
    return {one for one in found if verdicts.get(one, DEFERRING[0]) in DEFERRING}


def count_waiting_items(engine: Engine, project_id: int) -> int:
    """Return how many examples of the newest audit nobody has seen; 0 without an audit."""
    with reading(engine) as connection:
        audit_id = connection.scalar(
            select(func.max(AuditRow.id)).where(AuditRow.project_id == project_id)
        )
        if audit_id is None:
            return 0
        query = select(func.count(AuditItemRow.example_id.distinct())).where(
            AuditItemRow.audit_id == audit_id, ~_has_answer(AuditItemRow.example_id)
        )
        return connection.scalars(query).one()


def make_ticket(audit: Audit, example_id: int) -> str:
    """Return what a screen sends back with an answer to an audit's item.

    It looks like any random ticket, so that nobody sees which items are of the audit, and only who
    was handed the item has it.
    """
    return sha256(f"{audit.seed}\0{audit.id}\0{example_id}".encode()).hexdigest()[:16]


def is_of_audit(engine: Engine, project_id: int, example_id: int, ticket: str) -> bool:
    """Return whether an answer is one to an item of the newest audit, handed out as such."""
    if not ticket:
        return False
    audit = read_audit(engine, project_id)
    if audit is None or not hmac.compare_digest(make_ticket(audit, example_id), ticket):
        return False
    with reading(engine) as connection:
        of_audit = exists().where(
            AuditItemRow.audit_id == audit.id, AuditItemRow.example_id == example_id
        )
        return bool(connection.scalar(select(of_audit)))
