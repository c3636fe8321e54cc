"""A whole import enters the database: it is seen as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.example_rules import NewExample
from tracin_core.reviews.project_rows import Project, project_in
from tracin_core.reviews.project_rules import (
    check_classes,
    check_project,
    check_settings,
    check_storable,
)
from tracin_core.reviews.schema import ProjectRow, utc_now
from tracin_core.reviews.unseen import (
    OnRows,
    begin_handover,
    enter_unseen,
    finish_handover,
    follows,
    has_common_keys,
    settle_entries,
    show_project,
)


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
    """Make a project with its examples, which appears when all are entered.

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
    with _settled(engine, new.slug):
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
    with _settled(engine, before.slug):
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
def _settled(engine: Engine, slug: str) -> Iterator[None]:
    """Leave nothing half entered, however the block ends."""
    try:
        yield
    except BaseException as error:
        settle_entries(engine, slug)
        if isinstance(error, IntegrityError):
            raise _taken(slug, str(error.orig)) from error
        raise


def _check_as_before(connection: Connection, hidden: Project, project_id: int) -> None:
    """Keep others from changing a project, and see that nobody did since the data was read.

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
