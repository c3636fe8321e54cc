"""Bulk entry of examples: a new project, or more examples for one, seen as a whole or not at all.

SQLite has one writer at a time, and 200,000 examples take many seconds to enter: too long for a
person who records a decision meanwhile. So they enter in short transactions, under a project that
is hidden like one that is being deleted. A new project is then shown in one short step. Examples
for a project that exists are handed over to it: all at once up to ``MOVED``, which a person waits
half a second for; of more, the first of several steps decides that they belong to it, and whoever
finds a killed one takes the others.

Beside that stands what an import asks of a project before it adds to it: the keys and answers it
has, the positions that are free, and the places in the person's data that are not known yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Engine,
    Text,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, aliased

from relabel.db.engine import reading, writing
from relabel.db.examples import ExampleRules, NewExample, rows_of
from relabel.db.project_rules import (
    Project,
    check_classes,
    check_project,
    check_settings,
    check_storable,
    project_in,
    project_of,
)
from relabel.db.projects import delete_hidden_project, list_hidden_projects
from relabel.db.registration import PAUSE
from relabel.db.schema import ENTERING, GROWING, SHOWN, ExampleRow, ProjectRow, is_shown, utc_now
from relabel.text import SPLITS, Split
from tracin_core.errors import InputError

# Rows held in memory at a time.
CHUNK = 10_000
# Examples that are handed over in a transaction: a few tenths of a second.
MOVED = 10_000
OnRows = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class NewProject:
    """A project that is to be made; the fields are those of ``create_project``."""

    slug: str
    title: str
    kind: str
    task: str
    target: str
    classes: tuple[str, ...]
    description: str
    settings: Mapping[str, Any]


def enter_project(
    engine: Engine,
    new: NewProject,
    examples: Iterable[NewExample],
    on_rows: OnRows = lambda number: None,
) -> Project:
    """Create a project with its examples, which appears when all are entered.

    They enter in short transactions, between which people can decide about other projects.

    Args:
        engine: The database.
        new: The project.
        examples: Read once, in chunks.
        on_rows: Told after every chunk how many were entered; what it raises ends the entering.

    Raises:
        InputError: If a value is unusable, or the name is taken. Nothing is left of it then.
    """
    settings = dict(new.settings)
    check_project(new.slug, new.kind, new.task, new.classes, settings)
    for value in (new.title, new.description, new.target):
        check_storable(value, f"The project {new.slug!r}")
    row = {
        "slug": new.slug,
        "title": new.title,
        "kind": new.kind,
        "task": new.task,
        "target": new.target,
        "classes": list(new.classes),
        "description": new.description,
        "settings": settings,
        "created_at": utc_now(),
    }
    with _settle_on_failure(engine, new.slug):
        hidden = enter_unseen(engine, row, examples, on_rows)
        return show_project(engine, hidden, new.slug)


def enter_growth(
    engine: Engine,
    project_id: int,
    *,
    classes: tuple[str, ...],
    settings: Mapping[str, Any],
    examples: Iterable[NewExample],
    on_rows: OnRows = lambda number: None,
) -> Project:
    """Add examples, and the classes they need, to a project, all or nothing.

    They enter in short transactions and unseen, and are then handed over to the project; more
    than 10,000 appear in several steps, of which a killed process leaves no more than a delay.

    Args:
        engine: The database.
        project_id: The project.
        classes: All it is to have; those it has come first and in their order.
        settings: Of the project, from now on.
        examples: Read once, in chunks; their positions go on where the project's end.
        on_rows: Told after every chunk how many were entered; what it raises ends the entering.

    Raises:
        InputError: If a value is unusable, a key or position is taken, or the project's classes
            have changed meanwhile.
        NotFoundError: If there is no such project.
    """
    check_settings(settings)
    if classes:
        check_classes(classes)
    with reading(engine) as connection:
        before = project_in(connection, project_id)
    changed = {"classes": list(classes) or list(before.classes), "settings": dict(settings)}
    row = {
        **{name: getattr(before, name) for name in ("slug", "title", "kind", "task", "target")},
        **{"description": before.description, "created_at": before.created_at, **changed},
    }
    with _settle_on_failure(engine, before.slug):
        hidden = enter_unseen(engine, row, examples, on_rows)
        if has_common_keys(engine, hidden.id, project_id):
            raise _taken(before.slug, "a key is there already")
        with writing(engine) as connection:
            _check_as_before(connection, hidden, project_id)
            connection.execute(
                update(ProjectRow).where(ProjectRow.id == project_id).values(**changed)
            )
            is_left = begin_handover(connection, hidden, project_id)
        if is_left:
            finish_handover(engine, hidden.id, project_id)
    with reading(engine) as connection:
        return project_in(connection, project_id)


@contextmanager
def _settle_on_failure(engine: Engine, slug: str) -> Iterator[None]:
    """Settle what is half entered where the block fails."""
    try:
        yield
    except BaseException as error:
        settle_entries(engine, slug)
        if isinstance(error, IntegrityError):
            raise _taken(slug, str(error.orig)) from error
        raise


def _check_as_before(connection: Connection, hidden: Project, project_id: int) -> None:
    """Lock a project, and check that nobody changed it since the data was read.

    Raises:
        InputError: If somebody did.
    """
    connection.execute(select(ProjectRow.id).where(ProjectRow.id == project_id).with_for_update())
    now = project_in(connection, project_id)
    if hidden.classes[: len(now.classes)] != now.classes:
        raise InputError(
            f"The classes of {now.slug!r} have changed while the data was read. Import it again."
        )
    if not follows(connection, hidden.id, project_id):
        raise _taken(now.slug, "examples have come")


def _taken(slug: str, found: str) -> InputError:
    return InputError(
        f"The project {slug!r} was made or changed by somebody else while the data was read: a "
        f"name, key or position is taken. Nothing was added; import again. ({found})"
    )


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
    """Show a hidden project under its name.

    Raises:
        IntegrityError: If a project of this name was made meanwhile.
    """
    with writing(engine) as connection:
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == hidden.id).values(slug=slug, state=SHOWN)
        )
        return project_in(connection, hidden.id)


def has_common_keys(engine: Engine, hidden_id: int, project_id: int) -> bool:
    """Return whether a project has the key of a hidden example already."""
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
    """Return whether the places of hidden examples go on where a project's end."""
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


def read_keys(engine: Engine, project_id: int) -> dict[str, tuple[Split, int]]:
    """Return the split and position of every example by its key: about 200 bytes each."""
    return dict(stream_keys(engine, project_id))


def stream_keys(engine: Engine, project_id: int) -> Iterator[tuple[str, tuple[Split, int]]]:
    """Yield the key of every example with its split and position, in no order."""
    query = select(ExampleRow.key, ExampleRow.split, ExampleRow.position).where(
        ExampleRow.project_id == project_id
    )
    with reading(engine) as connection:
        for row in connection.execute(query.execution_options(yield_per=CHUNK)):
            yield row.key, (row.split, row.position)


class StoredAnswer(NamedTuple):
    """What a project has of one example: its answer, and its content if that was asked for."""

    id: int
    key: str
    split: Split
    label: int
    value: float | None
    text: str | None = None
    media_path: str | None = None
    fields: Mapping[str, Any] | None = None


def stream_answers(
    engine: Engine, project_id: int, *, with_content: bool = False
) -> Iterator[StoredAnswer]:
    """Yield what the project has of every example, in no order."""
    columns: list[InstrumentedAttribute[Any]] = [
        *(ExampleRow.id, ExampleRow.key, ExampleRow.split),
        *(ExampleRow.given_label, ExampleRow.given_value),
    ]
    if with_content:
        columns += [ExampleRow.text, ExampleRow.media_path, ExampleRow.fields]
    query = select(*columns).where(ExampleRow.project_id == project_id)
    with reading(engine) as connection:
        for row in connection.execute(query.execution_options(yield_per=CHUNK)):
            yield StoredAnswer(*row)


def read_keys_of(engine: Engine, ids: Sequence[int]) -> list[str]:
    """Return the keys of some examples, by their ids, in the same order."""
    query = select(ExampleRow.id, ExampleRow.key).where(ExampleRow.id.in_(ids))
    with reading(engine) as connection:
        keys = {row.id: row.key for row in connection.execute(query)}
    return [keys[one] for one in ids]


class FoundPlace(NamedTuple):
    """Where an example of the project is in the data; split: None where the data has none."""

    key: str
    split: Split | None
    place: str


def lacks_places(engine: Engine, project_id: int) -> bool:
    """Return whether it is not known of some example where it is in the person's data."""
    query = select(ExampleRow.id).where(
        ExampleRow.project_id == project_id, ExampleRow.source_place.is_(None)
    )
    with reading(engine) as connection:
        return connection.scalar(query.limit(1)) is not None


def fill_places(engine: Engine, project_id: int, found: Sequence[FoundPlace]) -> None:
    """Write the places of examples that have none, in one transaction; of two the first counts.

    A place in one split is none of an example that stands in the other: of equal examples in
    both, the one for training was kept.
    """
    split = bindparam("in_split", type_=Text)
    statement = (
        update(ExampleRow)
        .where(
            ExampleRow.project_id == project_id,
            ExampleRow.key == bindparam("of_key", type_=Text),
            ExampleRow.source_place.is_(None),
            or_(split == "", ExampleRow.split == split),
        )
        .values(source_place=bindparam("found_place", type_=Text))
    )
    rows = [
        {"of_key": one.key, "in_split": one.split or "", "found_place": one.place} for one in found
    ]
    with writing(engine) as connection:
        connection.execute(statement, rows)
    time.sleep(PAUSE)


def next_positions(engine: Engine, project_id: int) -> dict[Split, int]:
    """Return for each split the position of the next new example: how many there are."""
    with reading(engine) as connection:
        # One probe of an index each, whatever the size.
        highest = {
            split: connection.scalar(
                select(func.max(ExampleRow.position)).where(
                    ExampleRow.project_id == project_id, ExampleRow.split == split
                )
            )
            for split in SPLITS
        }
    return {split: 0 if last is None else last + 1 for split, last in highest.items()}
