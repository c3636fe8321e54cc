"""Projects and their examples: made once, read often, never changed by a review."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError, NotFoundError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.project_rules import NewExample, check_example, check_project
from tracin_core.reviews.registration import Checkpoint, Run, current_run, get_run, register_run
from tracin_core.reviews.schema import ExampleRow, ProjectRow, utc_now

__all__ = [
    "Project",
    "NewExample",
    "create_project",
    "list_projects",
    "get_project",
    "get_project_by_id",
    "add_examples",
    "Run",
    "Checkpoint",
    "register_run",
    "current_run",
    "get_run",
]

# Rows sent to the database at a time; more gains nothing and holds more memory.
CHUNK = 5000


@dataclass(frozen=True)
class Project:
    """One data set under review."""

    id: int
    slug: str
    title: str
    kind: str
    classes: tuple[str, ...]
    description: str
    created_at: datetime


def create_project(
    engine: Engine,
    *,
    slug: str,
    title: str,
    kind: str,
    classes: Iterable[str],
    description: str = "",
) -> Project:
    """Create a project without examples.

    Args:
        engine: The database.
        slug: Short name for folders and URLs: lower-case letters, digits, "-" and "_".
        title: Name for people.
        kind: "image", "text" or "table".
        classes: Names of the classes; an example's label is an index into them.
        description: What the data is, for people.

    Raises:
        InputError: If a value is unusable, or the slug is taken.
    """
    names = tuple(classes)
    check_project(slug, kind, names)
    row = {
        "slug": slug,
        "title": title,
        "kind": kind,
        "classes": list(names),
        "description": description,
        "created_at": utc_now(),
    }
    try:
        with writing(engine) as connection:
            connection.execute(insert(ProjectRow).values(row))
    except IntegrityError as error:
        raise InputError(
            f"A project named {slug!r} exists already. Choose another name, or open that one."
        ) from error
    return get_project(engine, slug)


def list_projects(engine: Engine) -> list[Project]:
    """Return all projects, oldest first."""
    with reading(engine) as connection:
        rows = connection.execute(select(ProjectRow.__table__).order_by(ProjectRow.id))
        return [_project(row) for row in rows]


def get_project(engine: Engine, slug: str) -> Project:
    """Return a project by its slug.

    Raises:
        NotFoundError: If there is none.
    """
    with reading(engine) as connection:
        row = connection.execute(
            select(ProjectRow.__table__).where(ProjectRow.slug == slug)
        ).one_or_none()
        if row is not None:
            return _project(row)
        slugs = list(connection.scalars(select(ProjectRow.slug).order_by(ProjectRow.id)))
    choice = f"Choose one of: {', '.join(slugs)}." if slugs else "Make one first, e.g. the demos."
    raise NotFoundError(f"Found no project named {slug!r}. {choice}")


def get_project_by_id(engine: Engine, project_id: int) -> Project:
    """Return a project by its id.

    Raises:
        NotFoundError: If there is none.
    """
    with reading(engine) as connection:
        return project_in(connection, project_id)


def project_in(connection: Connection, project_id: int) -> Project:
    """Return a project by its id, inside a transaction.

    Raises:
        NotFoundError: If there is none.
    """
    row = connection.execute(
        select(ProjectRow.__table__).where(ProjectRow.id == project_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"Found no project with id {project_id}. Choose one from the list.")
    return _project(row)


def add_examples(engine: Engine, project_id: int, examples: Iterable[NewExample]) -> int:
    """Add examples to a project, all or none.

    Args:
        engine: The database.
        project_id: The project.
        examples: Read once, in chunks, so a generator over a large file is fine.

    Returns:
        How many were added.

    Raises:
        InputError: If an example is unusable, or its key or position is taken.
        NotFoundError: If there is no such project.
    """
    count = 0
    try:
        with writing(engine) as connection:
            num_classes = len(project_in(connection, project_id).classes)
            for rows in _chunks(examples, project_id, num_classes):
                connection.execute(insert(ExampleRow), rows)
                count += len(rows)
    except IntegrityError as error:
        what = "position in a split" if "position" in str(error.orig) else "key"
        raise InputError(
            f"An example's {what} is taken: it occurs twice, or the project has it already. "
            "Expected every key once in a project and every position once in a split. Nothing "
            f"was added. (The database answered: {error.orig})"
        ) from error
    return count


def _chunks(
    examples: Iterable[NewExample], project_id: int, num_classes: int
) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(examples)
    while chunk := list(islice(iterator, CHUNK)):
        for example in chunk:
            check_example(example, num_classes)
        yield [
            {
                "project_id": project_id,
                "key": example.key,
                "split": example.split,
                "position": int(example.position),
                "given_label": int(example.given_label),
                "text": example.text,
                "media_path": example.media_path,
            }
            for example in chunk
        ]


def _project(row: Any) -> Project:
    return Project(
        id=row.id,
        slug=row.slug,
        title=row.title,
        kind=row.kind,
        classes=tuple(row.classes),
        description=row.description,
        created_at=row.created_at,
    )
