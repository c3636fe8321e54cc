"""Projects and their examples: made once, read often, never changed by a review."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError, NotFoundError
from tracin_core.reviews.adding import add_examples
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.example_rules import NewExample
from tracin_core.reviews.project_rows import Project, project_in, project_of
from tracin_core.reviews.project_rules import check_project, check_storable
from tracin_core.reviews.registration import register_run
from tracin_core.reviews.run_rows import Checkpoint, Run, current_run, get_run
from tracin_core.reviews.schema import ProjectRow, is_shown, utc_now

__all__ = [
    "Project",
    "NewExample",
    "create_project",
    "list_projects",
    "get_project",
    "get_project_by_id",
    "project_in",
    "add_examples",
    "Run",
    "Checkpoint",
    "register_run",
    "current_run",
    "get_run",
]


def create_project(
    engine: Engine,
    *,
    slug: str,
    title: str,
    kind: str,
    classes: Iterable[str] = (),
    description: str = "",
    task: str = "classification",
    target: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Project:
    """Create a project without examples.

    Args:
        engine: The database.
        slug: Short name for folders and URLs: lower-case letters, digits, "-" and "_".
        title: Name for people.
        kind: "image", "text" or "table".
        classes: Names of the classes, an example's label is an index into them; none for
            regression.
        description: What the data is, for people.
        task: "classification" or "regression".
        target: What the number (or the label) is called in the data.
        settings: How the data was imported, as in `Project`.

    Raises:
        InputError: If a value is unusable, or the slug is taken.
    """
    names, settings = tuple(classes), dict(settings or {})
    check_project(slug, kind, task, names, settings)
    for value in (title, description, target):
        check_storable(value, f"The project {slug!r}")
    row = {
        "slug": slug,
        "title": title,
        "kind": kind,
        "classes": list(names),
        "description": description,
        "created_at": utc_now(),
        "task": task,
        "target": target,
        "settings": settings,
    }
    try:
        with writing(engine) as connection:
            connection.execute(insert(ProjectRow).values(row))
    except IntegrityError as error:
        raise InputError(
            f"A project named {slug!r} exists already. Choose another name, or open that one."
        ) from error
    return get_project(engine, slug)


def list_projects(engine: Engine, archived: bool = False) -> list[Project]:
    """Return the projects in use, or those that were put away; oldest first."""
    is_archived = ProjectRow.archived_at.is_not(None)
    query = select(ProjectRow.__table__).where(is_shown, is_archived if archived else ~is_archived)
    with reading(engine) as connection:
        return [project_of(row) for row in connection.execute(query.order_by(ProjectRow.id))]


def get_project(engine: Engine, slug: str) -> Project:
    """Return a project by its slug, an archived one too.

    Raises:
        NotFoundError: If there is none.
    """
    with reading(engine) as connection:
        row = connection.execute(
            select(ProjectRow.__table__).where(ProjectRow.slug == slug, is_shown)
        ).one_or_none()
        if row is not None:
            return project_of(row)
    slugs = [project.slug for project in list_projects(engine)]
    choice = f"Choose one of: {', '.join(slugs)}." if slugs else "Make one first, e.g. the demos."
    raise NotFoundError(f"Found no project named {slug!r}. {choice}")


def get_project_by_id(engine: Engine, project_id: int) -> Project:
    """Return a project by its id.

    Raises:
        NotFoundError: If there is none.
    """
    with reading(engine) as connection:
        return project_in(connection, project_id)


def find_project(engine: Engine, slug: str) -> Project | None:
    """Return a project, or None where there is none of this name."""
    try:
        return get_project(engine, slug)
    except NotFoundError:
        return None
