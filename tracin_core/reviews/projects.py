"""Projects and their examples: made once, read often, never changed by a review."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError, NotFoundError
from tracin_core.reviews.database import reading, writing
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

KINDS = ("image", "text", "table")
SPLITS = ("train", "test")
# Safe as a folder name on every system and in a URL.
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
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


@dataclass(frozen=True)
class NewExample:
    """An example to be added.

    Attributes:
        key: Name that stays the same when the data set is imported again.
        split: "train" or "test".
        position: 0-based index within the split: the row in every array of a run.
        given_label: Index into the project's classes.
        text: The text of a text example.
        media_path: Path of an image, relative to the project's media folder, with "/".
    """

    key: str
    split: str
    position: int
    given_label: int
    text: str | None = None
    media_path: str | None = None


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
    _check_project(slug, kind, names)
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
            _check_example(example, num_classes)
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


def _check_project(slug: str, kind: str, classes: tuple[str, ...]) -> None:
    if not SLUG.fullmatch(slug):
        raise InputError(
            f"Found the project name {slug!r}. Expected 1 to 64 lower-case letters, digits, '-' "
            "and '_', beginning with a letter or digit. Choose such a name."
        )
    if kind not in KINDS:
        raise InputError(f"Found the kind {kind!r}. Expected one of {', '.join(KINDS)}.")
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise InputError(
            f"Found {len(classes)} classes: {', '.join(map(repr, classes[:10]))}. Expected at "
            "least two, with different names that are not empty."
        )
    for name in classes:
        check_storable(name, f"The class name {name!r}")


def _check_example(example: NewExample, num_classes: int) -> None:
    name = f"Example {example.key!r}"
    if not example.key:
        raise InputError(
            f"The example at position {example.position} of the {example.split} split has an "
            "empty key. Expected a name of its own for each example."
        )
    if example.split not in SPLITS:
        raise InputError(f"{name} has the split {example.split!r}. Expected train or test.")
    if example.position < 0:
        raise InputError(f"{name} has position {example.position}. Expected 0 or more.")
    if not 0 <= example.given_label < num_classes:
        raise InputError(
            f"{name} has label {example.given_label}. Expected a class index from 0 to "
            f"{num_classes - 1}."
        )
    for value in (example.key, example.text, example.media_path):
        check_storable(value or "", name)
    if example.media_path is not None:
        _check_media_path(example.media_path, name)


def _check_media_path(path: str, name: str) -> None:
    parts = path.split("/")
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{name} has the media path {path!r}. Expected a relative path inside the project's "
            "media folder, with '/' between folders and without '..', '\\' or ':'."
        )


def check_storable(value: str, name: str) -> None:
    """See that both databases can hold a text.

    Raises:
        InputError: If it contains a NUL (which PostgreSQL refuses) or half a surrogate pair
            (which has no UTF-8).
    """
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(
            f"{name} contains a NUL character or a broken Unicode character. Expected plain "
            "text: remove or replace it."
        )


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
