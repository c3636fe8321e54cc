"""A whole import enters the database in one transaction: all of it is seen, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError
from tracin_core.reviews.adding import insert_examples
from tracin_core.reviews.database import writing
from tracin_core.reviews.example_rules import NewExample
from tracin_core.reviews.project_rows import Project, project_in
from tracin_core.reviews.project_rules import (
    check_classes,
    check_project,
    check_settings,
    check_storable,
)
from tracin_core.reviews.schema import ProjectRow, utc_now


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


def enter_project(engine: Engine, new: NewProject, examples: Iterable[NewExample]) -> Project:
    """Make a project with its examples, all or nothing.

    Args:
        engine: The database.
        new: The project.
        examples: Read once, in chunks.

    Raises:
        InputError: If a value is unusable, or the name is taken.
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
    try:
        with writing(engine) as connection:
            made = connection.execute(insert(ProjectRow).values(row).returning(ProjectRow.id))
            project = project_in(connection, made.scalar_one())
            insert_examples(connection, project, examples)
    except IntegrityError as error:
        raise _taken(new.slug, error) from error
    return project


def enter_growth(
    engine: Engine,
    project_id: int,
    *,
    classes: tuple[str, ...],
    settings: Mapping[str, Any],
    examples: Iterable[NewExample],
) -> Project:
    """Add examples, and the classes they need, to a project, all or nothing.

    Args:
        engine: The database.
        project_id: The project.
        classes: All it is to have; those it has come first and in their order.
        settings: Of the project, from now on.
        examples: Read once, in chunks.

    Raises:
        InputError: If a value is unusable, a key or position is taken, or the project's classes
            have changed meanwhile.
        NotFoundError: If there is no such project.
    """
    check_settings(settings)
    try:
        with writing(engine) as connection:
            before = _lock(connection, project_id)
            if tuple(classes[: len(before.classes)]) != before.classes:
                raise InputError(
                    f"The classes of {before.slug!r} have changed while the data was read. "
                    "Import it again."
                )
            values: dict[str, Any] = {"settings": dict(settings)}
            if classes:
                check_classes(classes)
                values["classes"] = list(classes)
            connection.execute(
                update(ProjectRow).where(ProjectRow.id == project_id).values(**values)
            )
            project = project_in(connection, project_id)
            insert_examples(connection, project, examples)
    except IntegrityError as error:
        raise _taken(before.slug, error) from error
    return project


def _lock(connection: Connection, project_id: int) -> Project:
    """Keep others from changing the project; on SQLite the whole database is locked anyway."""
    connection.execute(select(ProjectRow.id).where(ProjectRow.id == project_id).with_for_update())
    return project_in(connection, project_id)


def _taken(slug: str, error: IntegrityError) -> InputError:
    return InputError(
        f"The project {slug!r} was made or changed by somebody else while the data was read: a "
        f"name, key or position is taken. Nothing was added; import again. (The database "
        f"answered: {error.orig})"
    )
