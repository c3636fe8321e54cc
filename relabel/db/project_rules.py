"""A project as its row holds it, and what makes its name, classes and settings acceptable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from relabel.db.schema import ProjectRow, is_shown
from relabel.errors import NotFoundError
from relabel.text import KINDS, TASKS, find_text_fault
from tracin_core.errors import InputError


@dataclass(frozen=True)
class Project:
    """One data set under review.

    Attributes:
        kind: "image", "text" or "table".
        classes: Names of the classes; empty for regression.
        task: "classification" or "regression".
        target: What the number (or the label) is called in the data; "" where unknown.
        settings: How the data was imported, as JSON. For tables, ``settings["columns"]`` is a
            list of ``{"name", "kind": "number" | "category"}`` in the order of the columns, with
            ``"longitude": True`` or ``"latitude": True`` where a column is a coordinate.
        archived_at: When it was put away, or None.
    """

    id: int
    slug: str
    title: str
    kind: str
    classes: tuple[str, ...]
    description: str
    created_at: datetime
    task: str = "classification"
    target: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    archived_at: datetime | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of a table's columns, in their order; empty where they are unknown."""
        return tuple(column["name"] for column in self.settings.get("columns", ()))


def project_of(row: Any) -> Project:
    """Return the project of a row of the table."""
    return Project(
        id=row.id,
        slug=row.slug,
        title=row.title,
        kind=row.kind,
        classes=tuple(row.classes),
        description=row.description,
        created_at=row.created_at,
        task=row.task,
        target=row.target,
        settings=row.settings,
        archived_at=row.archived_at,
    )


def project_in(connection: Connection, project_id: int) -> Project:
    """Return a project by its id, inside a transaction.

    Raises:
        NotFoundError: If there is none, or it is being deleted.
    """
    row = connection.execute(
        select(ProjectRow.__table__).where(ProjectRow.id == project_id, is_shown)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"Found no project with id {project_id}. Choose one from the list.")
    return project_of(row)


# Safe as a folder name on every system and in a URL.
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
COLUMN_KINDS = ("number", "category")


def check_project(
    slug: str, kind: str, task: str, classes: Sequence[str], settings: Mapping[str, Any]
) -> None:
    """Check that a project can be made.

    Raises:
        InputError: If a value is unusable.
    """
    check_slug(slug)
    if kind not in KINDS:
        raise InputError(f"Found the kind {kind!r}. Expected one of {', '.join(KINDS)}.")
    if task not in TASKS:
        raise InputError(f"Found the task {task!r}. Expected one of {', '.join(TASKS)}.")
    if task == "classification":
        check_classes(classes)
    elif classes:
        raise InputError(
            f"Found {len(classes)} classes for regression. Expected none: name the number with "
            "`target`, or choose classification."
        )
    check_settings(settings)


def check_slug(slug: str) -> None:
    """Check that a project's short name can be a folder and part of a URL.

    Raises:
        InputError: If it cannot.
    """
    if not SLUG.fullmatch(slug):
        raise InputError(
            f"Found the project name {slug!r}. Expected 1 to 64 lower-case letters, digits, '-' "
            "and '_', beginning with a letter or digit. Choose such a name."
        )


def check_classes(classes: Sequence[str]) -> None:
    """Check that the classes can be told apart and stored.

    Raises:
        InputError: If there are fewer than two, or a name is empty, double or broken.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise InputError(
            f"Found {len(classes)} classes: {', '.join(map(repr, classes[:10]))}. Expected at "
            "least two, with different names that are not empty."
        )
    for name in classes:
        check_storable(name, f"The class name {name!r}")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check that how the data was imported can be kept, and describes the columns rightly.

    Raises:
        InputError: If it is no JSON, or a column has no name or no kind.
    """
    try:
        check_storable(json.dumps(dict(settings), allow_nan=False, ensure_ascii=False), "Settings")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The project's settings are no JSON: {error}. Expected texts, finite numbers, lists "
            "and dicts only."
        ) from error
    names = []
    for column in settings.get("columns", ()):
        if not isinstance(column, Mapping) or column.get("kind") not in COLUMN_KINDS:
            raise InputError(
                f"Found the column {column!r}. Expected its name and its kind, one of "
                f"{', '.join(COLUMN_KINDS)}."
            )
        names.append(str(column.get("name", "")))
        check_storable(names[-1], f"The column name {names[-1]!r}")
    if len(set(names)) < len(names) or not all(names):
        raise InputError(
            f"Found the columns {', '.join(map(repr, names[:10]))}. Expected different names that "
            "are not empty."
        )


def check_storable(value: str, name: str) -> None:
    """Check that both databases can hold a text.

    Raises:
        InputError: If it contains a NUL (which PostgreSQL refuses) or half a surrogate pair
            (which has no UTF-8).
    """
    if find_text_fault(value) is not None:
        raise InputError(
            f"{name} contains a NUL character or a broken Unicode character. Expected plain "
            "text: remove or replace it."
        )
