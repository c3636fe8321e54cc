"""Handing out: the next suspects for one person, of which nobody else has any before them.

First suspects are drawn that nobody else holds, then they are claimed, in one statement of the
database. Of two people who draw the same, one gets it, and the other draws again. What was decided
between the drawing and the claiming is given back: its version is no longer the one that was drawn,
or no second answer is wanted any more.

Where a project wants second opinions, some of what a person is handed has been decided by somebody
else. Nothing of that answer goes along: the example looks as if nobody had seen it.

While an audit lasts, its examples come mixed in at places that chance gives, in the order of the
draw, and look like any others; the queue itself leaves them out. They come only where the whole of
the queue is asked for: of a part of it the answers would be no random ones.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from relabel.db.decisions.kinds import PENDING
from relabel.db.engine import is_read_only, reading, reading_one_state
from relabel.db.examples import ExampleView
from relabel.db.filtering import filter_conditions, is_reviewed
from relabel.db.queue import (
    EVERYTHING,
    DrawnSuspect,
    QueueFilter,
    draw_next_suspects,
    draw_ranked,
    open_ranking,
)
from relabel.db.schema import LeaseRow, RunRow, ScoreRow, utc_now
from relabel.db.team.audits import (
    Audit,
    find_audit,
    find_unanswered,
    find_waiting,
    is_waiting,
    make_ticket,
)
from relabel.db.team.leases import claim, is_held_by_others, release
from relabel.db.team.reviewers import Identity
from relabel.db.team.second_looks import find_looks, find_wanted
from relabel.errors import DatabaseError

_Kind = Literal["queue", "look", "audit"]
_LOGGER = logging.getLogger(__name__)
# Of what is asked for at once, one in so many may be a second look while there are first ones.
SECOND_LOOKS = 3
# Others may claim what was drawn; so many times in a row is a queue that is nearly empty.
ATTEMPTS = 6
UNHELD = "These suspects could not be held for you, so somebody else may be shown the same ones."
READ_ONLY = f"{UNHELD} The database can only be read."
# Where an audit's items stand; nobody can work it out.
_chance = random.SystemRandom()


@dataclass(frozen=True)
class Screen:
    """Who asks, and where the suspects will be shown.

    Attributes:
        who: The person.
        name: Tells the person's screens apart.
    """

    who: Identity
    name: str


@dataclass(frozen=True)
class Handed:
    """What a person was handed.

    Attributes:
        suspects: The next ones, in the order of the queue.
        with_others: How many more of the queue others have before them; asked only where fewer
            than wanted were left.
        unheld: Why others may be handed the same ones, in a sentence; "" where they are held.
    """

    suspects: list[DrawnSuspect]
    with_others: int = 0
    unheld: str = ""


def hand_out(
    engine: Engine,
    run_id: int,
    screen: Screen,
    *,
    signal: str | None = None,
    filter: QueueFilter = EVERYTHING,
    count: int = 1,
    without: Collection[int] = (),
    second_looks: bool = False,
) -> Handed:
    """Return the next examples for a person, and hold them for two minutes.

    Args:
        engine: The database.
        run_id: The run.
        screen: Who asks, and where.
        signal: What the queue is ranked by; None for the run's first signal.
        filter: Which examples.
        count: At most so many.
        without: Ids of examples that the screen has already.
        second_looks: Whether the project wants second opinions.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
        DatabaseError: If the database fails.
    """
    free = ~is_held_by_others(ScoreRow.example_id, screen.who.holder)
    audit = _find_audit(engine, run_id, filter)
    not_audit = [] if audit is None else [~is_waiting(audit.id, ScoreRow.example_id)]
    taken: list[DrawnSuspect] = []
    lost = set(without)
    unheld = READ_ONLY if is_read_only(engine) else ""

    def draw(wanted: int, kind: _Kind) -> list[DrawnSuspect]:
        if kind == "look":
            return _draw_looks(engine, run_id, screen.who, signal, filter, wanted, lost, free)
        if kind == "audit" and audit is not None:
            return _draw_audit(engine, run_id, audit, signal, wanted, lost, free)
        also = [free, *not_audit]
        return draw_next_suspects(
            engine, run_id, signal=signal, filter=filter, count=wanted, without=lost, also=also
        )

    def take(most: int, kind: _Kind) -> int:
        """Take up to so many together with those that are taken; return how many are new."""
        nonlocal unheld
        before = len(taken)
        for _ in range(ATTEMPTS):
            wanted = most - len(taken)
            drawn = draw(wanted, kind) if wanted > 0 else []
            if not drawn:
                break
            try:
                held = _claim(engine, drawn, screen)
            except DatabaseError as error:
                # Who looks is shown something all the same: leases forbid nothing, and what two
                # people decide about one example is told apart by its version.
                _LOGGER.warning("Nobody holds what is handed out: %s", error)
                held, unheld = drawn, f"{UNHELD} {error}"
            taken.extend(held)
            lost.update(one.view.id for one in drawn)
            if len(held) == len(drawn):
                break
        return len(taken) - before

    # Second looks wait already, so they come first; where first ones are all gone, they come again.
    if second_looks:
        take(count // SECOND_LOOKS, "look")
    mixed = 0
    if audit is not None:
        share = audit.frame.mix_share
        places = sum(_chance.random() < share for _ in range(count - len(taken)))
        mixed = take(len(taken) + places, "audit")
    first_mixed = len(taken) - mixed
    take(count, "queue")
    if second_looks:
        take(count, "look")
    if audit is not None:
        take(count, "audit")
        _shuffle_in(taken, first_mixed, mixed)
        taken = _mark_audited(engine, audit, taken)
    others = 0
    if len(taken) < count:
        others = _count_with_others(engine, run_id, screen.who, signal, filter)
    return Handed(taken, others, unheld if taken else "")


def _find_audit(engine: Engine, run_id: int, filter: QueueFilter) -> Audit | None:
    """Return the audit whose items are to be mixed in, or None."""
    if replace(filter, status="any") != EVERYTHING or filter.status == "reviewed":
        return None
    with reading(engine) as connection:
        of_run = select(RunRow.project_id).where(RunRow.id == run_id).scalar_subquery()
        return find_audit(connection, of_run)


def _shuffle_in(taken: list[DrawnSuspect], first: int, count: int) -> None:
    """Give examples that stand together places by chance among all; the others keep their order."""
    mixed = taken[first : first + count]
    del taken[first : first + count]
    places = sorted(_chance.sample(range(len(taken) + count), count))
    for place, one in zip(places, mixed, strict=True):
        taken.insert(place, one)


def _draw_audit(
    engine: Engine,
    run_id: int,
    audit: Audit,
    signal: str | None,
    count: int,
    without: Collection[int],
    free: ColumnElement[bool],
) -> list[DrawnSuspect]:
    """Return the next of an audit's examples, as if nobody had seen them."""
    with reading_one_state(engine) as connection:
        run, ranking = open_ranking(connection, run_id, signal)
        conditions = [free]
        if without:
            conditions.append(ScoreRow.example_id.not_in(sorted(without)))
        found = find_waiting(
            connection,
            audit.id,
            scoring_id=run.scoring_id,
            signal=ranking,
            conditions=conditions,
            count=count,
        )
        return draw_ranked(connection, run, signal, found)


def _mark_audited(engine: Engine, audit: Audit, taken: list[DrawnSuspect]) -> list[DrawnSuspect]:
    """Mark and hide the answers of those that the audit asks; skipped ones of it come again."""
    firsts = [one.view.id for one in taken if one.look is None]
    with reading(engine) as connection:
        asked = find_unanswered(connection, audit, firsts)
    return [
        replace(one, view=hide_first_answer(one.view), ticket=make_ticket(audit, one.view.id))
        if one.view.id in asked and one.look is None
        else one
        for one in taken
    ]


def hide_first_answer(view: ExampleView) -> ExampleView:
    """Return an example as if nobody had decided about it; its version stays."""
    return replace(
        view,
        status=PENDING,
        current_label=view.given_label,
        current_value=view.given_value,
        last_decision_id=None,
    )


def _claim(engine: Engine, drawn: list[DrawnSuspect], screen: Screen) -> list[DrawnSuspect]:
    project_id = drawn[0].view.project_id
    ids = [one.view.id for one in drawn]
    versions = claim(engine, project_id, ids, holder=screen.who.holder, screen=screen.name)
    held = [one for one in drawn if versions.get(one.view.id) == one.view.version]
    if any(one.look is not None for one in held):
        # A second answer makes no version.
        wanted = find_wanted(engine, [one.view.id for one in held])
        held = [one for one in held if one.look is None or one.view.id in wanted]
    changed = set(versions) - {one.view.id for one in held}
    release(engine, changed, screen=screen.name)
    return held


def _draw_looks(
    engine: Engine,
    run_id: int,
    who: Identity,
    signal: str | None,
    filter: QueueFilter,
    count: int,
    without: Collection[int],
    free: ColumnElement[bool],
) -> list[DrawnSuspect]:
    """Return examples that somebody else has decided and this person is to see, blind."""
    with reading_one_state(engine) as connection:
        run, ranking = open_ranking(connection, run_id, signal, filter.split)
        conditions = [*filter_conditions(connection, run, filter, with_status=False), free]
        if without:
            conditions.append(ScoreRow.example_id.not_in(sorted(without)))
        found = find_looks(
            connection,
            run.project_id,
            who,
            scoring_id=run.scoring_id,
            signal=ranking,
            conditions=conditions,
            count=count,
        )
        drawn = draw_ranked(connection, run, signal, found)
    looks = {one.example_id: one.look for one in found}
    return [
        replace(one, view=hide_first_answer(one.view), look=looks[one.view.id]) for one in drawn
    ]


def _count_with_others(
    engine: Engine, run_id: int, who: Identity, signal: str | None, filter: QueueFilter
) -> int:
    """Return how many undecided examples of the queue others have before them."""
    with reading(engine) as connection:
        return _count_held(connection, run_id, who, signal, filter)


def _count_held(
    connection: Connection, run_id: int, who: Identity, signal: str | None, filter: QueueFilter
) -> int:
    run, ranking = open_ranking(connection, run_id, signal, filter.split)
    query = (
        select(func.count())
        .select_from(LeaseRow)
        .join(ScoreRow, ScoreRow.example_id == LeaseRow.example_id)
        .where(
            LeaseRow.project_id == run.project_id,
            LeaseRow.holder != who.holder,
            LeaseRow.expires_at > utc_now(),
            ScoreRow.scoring_id == run.scoring_id,
            ScoreRow.signal == ranking,
            ~is_reviewed(),
            *filter_conditions(connection, run, filter, with_status=False),
        )
    )
    return connection.scalars(query).one()
