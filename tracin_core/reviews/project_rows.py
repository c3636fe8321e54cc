"""A project as it is read from its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tracin_core.errors import NotFoundError
from tracin_core.reviews.schema import ProjectRow, is_shown


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
