"""Examples enter the database unseen, a chunk at a time, and are shown by a short last step.

SQLite has one writer at a time, and 200,000 examples take many seconds to enter: too long for a
person who records a decision meanwhile. So they enter in short transactions, under a project that
is hidden like one that is being deleted. A new project then gets its name. Examples for a project
that exists are handed over to it: all at once up to ``MOVED``, which a person waits half a second
for; of more, the first of several steps decides that they belong to it, and whoever finds a killed
one takes the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.orm import aliased

from tracin_core.reviews.adding import rows_of
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.deleting import delete_hidden_project, list_hidden_projects
from tracin_core.reviews.example_rules import ExampleRules, NewExample
from tracin_core.reviews.project_rows import Project, project_in, project_of
from tracin_core.reviews.schema import (
    ENTERING,
    GROWING,
    SHOWN,
    ExampleRow,
    ProjectRow,
    is_shown,
)
from tracin_core.reviews.scorings import PAUSE
from tracin_core.terms import SPLITS

# Examples that are handed over in a transaction: a few tenths of a second.
MOVED = 10_000

OnRows = Callable[[int], None]


def enter_unseen(
    engine: Engine, values: Mapping[str, Any], examples: Iterable[NewExample], on_rows: OnRows
) -> Project:
    """Enter a project with its examples so that nobody sees it.

    Args:
        engine: The database.
        values: Of the project's row; its slug is the one it is to have.
        examples: Read once, in chunks.
        on_rows: Told after every chunk how many were entered.

    Returns:
        The hidden project.

    Raises:
        InputError: If an example is unusable.
        IntegrityError: If a key or a place occurs twice, or another process removed the project.
    """
    row = {**values, "state": ENTERING}
    with writing(engine) as connection:
        new = insert(ProjectRow).values(row).returning(ProjectRow.__table__)
        hidden = project_of(connection.execute(new).one())
    for rows in rows_of(examples, hidden.id, ExampleRules(hidden)):
        with writing(engine) as connection:
            connection.execute(insert(ExampleRow), rows)
        on_rows(len(rows))
        time.sleep(PAUSE)
    return hidden


def show_project(engine: Engine, hidden: Project, slug: str) -> Project:
    """Give a hidden project its name, and let people see it.

    Raises:
        IntegrityError: If a project of this name was made meanwhile.
    """
    with writing(engine) as connection:
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == hidden.id).values(slug=slug, state=SHOWN)
        )
        return project_in(connection, hidden.id)


def has_common_keys(engine: Engine, hidden_id: int, project_id: int) -> bool:
    """Tell whether a project has the key of a hidden example already."""
    mine, theirs = aliased(ExampleRow), aliased(ExampleRow)
    query = (
        select(mine.id)
        .join(theirs, (theirs.project_id == project_id) & (theirs.key == mine.key))
        .where(mine.project_id == hidden_id)
        .limit(1)
    )
    with reading(engine) as connection:
        return connection.scalar(query) is not None


def follows(connection: Connection, hidden_id: int, project_id: int) -> bool:
    """Tell whether the places of hidden examples go on where a project's end."""
    for split in SPLITS:
        first, last = (
            connection.scalar(
                select(extreme(ExampleRow.position)).where(
                    ExampleRow.project_id == owner, ExampleRow.split == split
                )
            )
            for extreme, owner in ((func.min, hidden_id), (func.max, project_id))
        )
        if first is not None and first != (0 if last is None else last + 1):
            return False
    return True


def begin_handover(connection: Connection, hidden: Project, project_id: int) -> bool:
    """Decide, in the caller's transaction, that hidden examples belong to a project.

    Returns:
        Whether any may be left to be handed over.
    """
    connection.execute(
        update(ProjectRow)
        .where(ProjectRow.id == hidden.id)
        .values(state=GROWING, handed_to=project_id)
    )
    return _hand_over_chunk(connection, hidden.id, project_id)


def finish_handover(engine: Engine, hidden_id: int, project_id: int) -> None:
    """Hand over the examples that are left.

    Raises:
        NotFoundError: If the project is gone.
    """
    is_left = True
    while is_left:
        time.sleep(PAUSE)
        with writing(engine) as connection:
            project_in(connection, project_id)
            is_left = _hand_over_chunk(connection, hidden_id, project_id)


def settle_entries(engine: Engine, slug: str) -> None:
    """Clear up after an import into a project that was stopped or killed.

    What was not shown yet is removed; what was decided to belong to the project is handed over.
    Call it only where no other process may be importing into the project.
    """
    for hidden in list_hidden_projects(engine, ENTERING, GROWING, slug=slug):
        if hidden.handed_to is not None and _is_shown(engine, hidden.handed_to):
            finish_handover(engine, hidden.id, hidden.handed_to)
        else:
            delete_hidden_project(engine, hidden.id)


def _is_shown(engine: Engine, project_id: int) -> bool:
    query = select(ProjectRow.id).where(ProjectRow.id == project_id, is_shown)
    with reading(engine) as connection:
        return connection.scalar(query) is not None


def _hand_over_chunk(connection: Connection, hidden_id: int, project_id: int) -> bool:
    """Hand over a chunk by its places, so that no gap is seen; return whether any may be left."""
    left = MOVED
    while left > 0:
        head = connection.execute(
            select(ExampleRow.split, ExampleRow.position)
            .where(ExampleRow.project_id == hidden_id)
            .order_by(ExampleRow.split, ExampleRow.position)
            .limit(1)
        ).one_or_none()
        if head is None:
            connection.execute(delete(ProjectRow).where(ProjectRow.id == hidden_id))
            return False
        chunk = (
            ExampleRow.project_id == hidden_id,
            ExampleRow.split == head.split,
            ExampleRow.position < head.position + left,
        )
        moved = connection.execute(update(ExampleRow).where(*chunk).values(project_id=project_id))
        left -= moved.rowcount
    return True
