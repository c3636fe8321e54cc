"""Leases: who has which example on the screen, so that nobody else is handed it.

A lease lasts two minutes unless the screen renews it, and one that has run out is anybody's. It
hands out and forbids nothing: a decision names the version that was on the screen, which the
database checks whoever holds what.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from relabel.db.engine import is_read_only, reading, writing
from relabel.db.examples import LARGEST_ID
from relabel.db.schema import DecisionRow, LeaseRow, utc_now

# Until an example comes back of which nobody has said anything more.
LEASE = timedelta(minutes=2)
# Statements with it are made once: building one takes longer than its answer.
_THESE = bindparam("example_ids", type_=BigInteger, expanding=True)
_Insert = Callable[[type[LeaseRow]], "sqlite.Insert | postgresql.Insert"]
_INSERTS: dict[str, _Insert] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def claim(
    engine: Engine, project_id: int, example_ids: Collection[int], *, holder: str, screen: str
) -> dict[int, int]:
    """Take or renew leases on examples that nobody else holds.

    One statement, safe against others that do the same: the database lets one of two insert a row,
    and the other's update finds a lease that has not run out.

    Args:
        engine: The database.
        project_id: The project of the examples.
        example_ids: Their ids.
        holder: The person, as `Identity.holder` says.
        screen: Any text that tells the person's screens apart.

    Returns:
        The ids that the person holds now, with the number of their events. Of a database that can
        only be read those that were asked for: nobody decides there.
    """
    ids = sorted({int(one) for one in example_ids if 0 < one <= LARGEST_ID})
    if not ids:
        return {}
    if is_read_only(engine):
        with reading(engine) as connection:
            return dict.fromkeys(ids, 0) | count_events(connection, ids)
    now = utc_now()
    values = [
        {
            "example_id": one,
            "project_id": project_id,
            "holder": holder,
            "screen": screen,
            "expires_at": now + LEASE,
        }
        for one in ids
    ]
    new = _INSERTS[engine.dialect.name](LeaseRow).values(values)
    statement = new.on_conflict_do_update(
        index_elements=[LeaseRow.example_id],
        set_={
            name: new.excluded[name] for name in ("project_id", "holder", "screen", "expires_at")
        },
        where=or_(LeaseRow.holder == holder, LeaseRow.expires_at <= now),
    ).returning(LeaseRow.example_id)
    with writing(engine) as connection:
        taken = list(connection.scalars(statement))
        # Afterwards: what others decided before their lease was given back is seen here.
        return dict.fromkeys(taken, 0) | count_events(connection, taken)


_EVENTS = (
    select(DecisionRow.example_id, func.max(DecisionRow.version))
    .where(DecisionRow.example_id.in_(_THESE))
    .group_by(DecisionRow.example_id)
)


def count_events(connection: Connection, example_ids: Sequence[int]) -> dict[int, int]:
    """Return how many events each of some examples has; those without any are not there."""
    rows = connection.execute(_EVENTS, {"example_ids": list(example_ids)})
    return {row[0]: row[1] for row in rows}


def release(engine: Engine, example_ids: Collection[int], *, screen: str) -> None:
    """Give back leases that a screen holds; those that another screen has taken over stay."""
    ids = sorted({int(one) for one in example_ids if 0 < one <= LARGEST_ID})
    if not ids or is_read_only(engine):
        return
    # In the order in which `claim` takes them, so that two never wait for each other.
    mine = (
        select(LeaseRow.example_id)
        .where(LeaseRow.example_id.in_(ids), LeaseRow.screen == screen)
        .order_by(LeaseRow.example_id)
        .with_for_update()
    )
    with writing(engine) as connection:
        held = list(connection.scalars(mine))
        if held:
            connection.execute(delete(LeaseRow).where(LeaseRow.example_id.in_(held)))


def release_screen(engine: Engine, screen: str) -> None:
    """Give back all leases of a screen that is gone, those too that it has not heard of yet."""
    if screen and not is_read_only(engine):
        mine = (
            select(LeaseRow.example_id)
            .where(LeaseRow.screen == screen)
            .order_by(LeaseRow.example_id)
            .with_for_update()
        )
        with writing(engine) as connection:
            held = list(connection.scalars(mine))
            if held:
                connection.execute(delete(LeaseRow).where(LeaseRow.example_id.in_(held)))


_END = delete(LeaseRow).where(LeaseRow.example_id.in_(_THESE))


def end_leases(connection: Connection, example_ids: Collection[int]) -> None:
    """Give back examples about which something has just been decided."""
    connection.execute(_END, {"example_ids": list(example_ids)})


def is_held_by_others(example_id: Any, holder: str) -> ColumnElement[bool]:
    """Return the condition that somebody else has an example before them.

    Args:
        example_id: The column that names it.
        holder: The person who asks.
    """
    return exists().where(
        LeaseRow.example_id == example_id,
        LeaseRow.holder != holder,
        LeaseRow.expires_at > utc_now(),
    )
