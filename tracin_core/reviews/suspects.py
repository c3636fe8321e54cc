"""The suspect that a person is shown, with everything that the screen says of it, of one moment.

A decision names the version of the example that was on the screen. Were the suspect and its
version read one after the other, a decision made in between would be neither seen nor refused: the
suspect would be shown as nobody's, with the version that follows somebody's decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from tracin_core.reviews.database import reading_one_state
from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.ledger import decisions_after, describe
from tracin_core.reviews.project_rows import project_in
from tracin_core.reviews.queue import EVERYTHING, QueueFilter, QueueRow, next_two_in

# Newest events that are told of an example that others have decided.
TOLD_EVENTS = 3


@dataclass(frozen=True)
class DrawnSuspect:
    """The next suspect as the database had it at one moment.

    Attributes:
        row: Its place in the queue.
        view: What is known of it; its version is the one that a decision must name. Of its scores
            the one that it is ranked by is there.
        following: The suspect that comes when this one is decided, or None.
    """

    row: QueueRow
    view: ExampleView
    following: QueueRow | None


def draw_next_suspect(
    engine: Engine,
    run_id: int,
    *,
    signal: str = "self_influence",
    filter: QueueFilter = EVERYTHING,
) -> DrawnSuspect | None:
    """Return the next example to decide, or None when all is decided; as `next_suspect` orders.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
        DatabaseError: If the database fails.
    """
    with reading_one_state(engine) as connection:
        found = next_two_in(connection, run_id, signal=signal, filter=filter)
    if not found:
        return None
    (row, view), *others = found
    return DrawnSuspect(row, view, others[0][0] if others else None)


def describe_since(engine: Engine, view: ExampleView, version: int) -> str:
    """Tell in plain words what has been decided about an example since a version.

    Returns:
        For instance "Ann excluded it (2026-05-04 …)"; "" where nothing has been.
    """
    with reading_one_state(engine) as connection:
        classes = project_in(connection, view.project_id).classes
        events = decisions_after(connection, view.id, version, TOLD_EVENTS)
    return "; then ".join(describe(one, classes) for one in events)
