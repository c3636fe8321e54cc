"""Projects are renamed, put away, taken out again and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, update

from tracin_core.errors import InputError
from tracin_core.reviews.database import writing
from tracin_core.reviews.deleting import delete_project, finish_deletions
from tracin_core.reviews.project_rows import Project, project_in
from tracin_core.reviews.project_rules import check_settings, check_storable
from tracin_core.reviews.projects import list_projects
from tracin_core.reviews.schema import ProjectRow, utc_now

__all__ = [
    "list_projects",
    "rename_project",
    "change_settings",
    "archive_project",
    "unarchive_project",
    "delete_project",
    "finish_deletions",
]


def rename_project(
    engine: Engine, project_id: int, *, title: str | None = None, description: str | None = None
) -> Project:
    """Give a project another title or description; its short name, which is an address, stays.

    Args:
        engine: The database.
        project_id: The project.
        title: None leaves it.
        description: None leaves it.

    Raises:
        InputError: If the title is empty, or a text cannot be stored.
        NotFoundError: If there is no such project.
    """
    values = {}
    if title is not None:
        values["title"] = title.strip()
        if not values["title"]:
            raise InputError("The project's title is empty. Expected a name for people: enter one.")
    if description is not None:
        values["description"] = description.strip()
    for name, value in values.items():
        check_storable(value, f"The project's {name}")
    return _change(engine, project_id, values)


def change_settings(engine: Engine, project_id: int, settings: Mapping[str, Any]) -> Project:
    """Replace what is kept about how a project's data was imported.

    Raises:
        InputError: If the settings are no JSON, or describe columns wrongly.
        NotFoundError: If there is no such project.
    """
    check_settings(settings)
    return _change(engine, project_id, {"settings": dict(settings)})


def archive_project(engine: Engine, project_id: int) -> Project:
    """Put a project away: it keeps everything, and is left out of the list of those in use.

    Raises:
        NotFoundError: If there is no such project.
    """
    return _set_archived(engine, project_id, utc_now())


def unarchive_project(engine: Engine, project_id: int) -> Project:
    """Take a project out again.

    Raises:
        NotFoundError: If there is no such project.
    """
    return _set_archived(engine, project_id, None)


def _set_archived(engine: Engine, project_id: int, moment: datetime | None) -> Project:
    return _change(engine, project_id, {"archived_at": moment})


def _change(engine: Engine, project_id: int, values: dict[str, Any]) -> Project:
    with writing(engine) as connection:
        project_in(connection, project_id)
        if values:
            connection.execute(
                update(ProjectRow).where(ProjectRow.id == project_id).values(**values)
            )
        return project_in(connection, project_id)
