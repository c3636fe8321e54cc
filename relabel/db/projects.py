"""Projects: created, listed, renamed, archived and deleted; a review never changes them.

The first transaction of a deletion hides the project and frees its name. From then on nobody sees
it, and what is left of it goes in short transactions, between which people can decide about other
projects. A kill half-way leaves a hidden project, which `finish_deletions` takes away.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from relabel.db.engine import reading, writing
from relabel.db.jobs import ACTIVE
from relabel.db.project_rules import (
    Project,
    check_project,
    check_storable,
    project_in,
    project_of,
)
from relabel.db.registration import PAUSE, remove_scoring
from relabel.db.schema import (
    DELETING,
    AuditItemRow,
    AuditRow,
    CheckpointRow,
    DecisionRow,
    ExampleRow,
    JobRow,
    LeaseRow,
    OpinionRow,
    ProjectRow,
    RunRow,
    ScoringRow,
    SecondLookRow,
    is_shown,
    utc_now,
)
from relabel.errors import JobError, NotFoundError
from tracin_core.errors import InputError


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


def rename_project(
    engine: Engine, project_id: int, *, title: str | None = None, description: str | None = None
) -> Project:
    """Change a project's title or description; its short name, which is an address, stays.

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


def archive_project(engine: Engine, project_id: int) -> Project:
    """Archive a project: it keeps everything, and is left out of the list of those in use.

    Raises:
        NotFoundError: If there is no such project.
    """
    return _set_archived(engine, project_id, utc_now())


def unarchive_project(engine: Engine, project_id: int) -> Project:
    """Return a project from the archive to the list of those in use.

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


# Examples a transaction: about a tenth of a second.
CHUNK = 5000


def delete_project(engine: Engine, project_id: int) -> None:
    """Delete a project with everything that belongs to it, decisions included.

    It is out of sight when the first of several transactions is over. The rows go, the files do
    not: those are the caller's. SQLite's file keeps its size, and new data fills the room.

    Raises:
        JobError: If a job of the project is active. Nothing was deleted.
        NotFoundError: If there is no such project.
    """
    hide_project(engine, project_id)
    delete_hidden_project(engine, project_id)


def hide_project(engine: Engine, project_id: int) -> None:
    """Hide a project, the first step of its deletion: nobody sees it, and its name is free.

    Raises:
        JobError: If a job of the project is active. Nothing has changed.
        NotFoundError: If there is no such project.
    """
    with writing(engine) as connection:
        # PostgreSQL: a job that is being entered at this moment is waited for, and then seen.
        connection.execute(
            select(ProjectRow.id).where(ProjectRow.id == project_id).with_for_update()
        )
        slug = project_in(connection, project_id).slug
        _check_idle(connection, slug)
        connection.execute(
            delete(JobRow).where(or_(JobRow.project_id == project_id, JobRow.project_slug == slug))
        )
        # Names are unique among the shown ones, so this one is free for a new project.
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == project_id).values(state=DELETING)
        )


class HiddenProject(NamedTuple):
    """A project that nobody sees.

    Attributes:
        slug: The name that it had, or is to have.
        state: What is being done to it: "entering", "growing", "restoring" or "deleting".
        handed_to: The project that a growing one's examples go to.
    """

    id: int
    slug: str
    state: str
    handed_to: int | None


def list_hidden_projects(
    engine: Engine, *states: str, slug: str | None = None
) -> list[HiddenProject]:
    """Return the projects that are being deleted, or not all entered yet.

    Args:
        engine: The database.
        states: Only in one of these; all without any.
        slug: Only of this name.
    """
    query = select(ProjectRow.id, ProjectRow.slug, ProjectRow.state, ProjectRow.handed_to)
    query = query.where(~is_shown)
    if states:
        query = query.where(ProjectRow.state.in_(states))
    if slug is not None:
        query = query.where(ProjectRow.slug == slug)
    with reading(engine) as connection:
        return [HiddenProject(*row) for row in connection.execute(query.order_by(ProjectRow.id))]


def finish_deletions(engine: Engine) -> int:
    """Delete the rows of projects whose deletion was cut off; call it when a server starts.

    A project that is just being entered stays.

    Returns:
        How many there were.
    """
    found = list_hidden_projects(engine, DELETING)
    for project in found:
        delete_hidden_project(engine, project.id)
    return len(found)


def _check_idle(connection: Connection, slug: str) -> None:
    job = connection.execute(
        select(JobRow.kind, JobRow.state).where(
            JobRow.project_slug == slug, JobRow.state.in_(ACTIVE)
        )
    ).one_or_none()
    if job is not None:
        raise JobError(
            f"The project {slug!r} is busy: {job.kind} is {job.state}. Expected no active job. "
            "Wait for it to finish or cancel it, then delete the project."
        )


def delete_hidden_project(engine: Engine, project_id: int) -> None:
    """Delete all rows of a hidden project; may begin anywhere, and anew."""
    of_project = RunRow.project_id == project_id
    with writing(engine) as connection:
        connection.execute(update(RunRow).where(of_project).values(scoring_id=None))
        scorings = connection.scalars(
            select(ScoringRow.id).where(ScoringRow.project_id == project_id)
        ).all()
    for scoring_id in scorings:
        remove_scoring(engine, scoring_id)
    while _cut_examples(engine, project_id):
        time.sleep(PAUSE)
    with writing(engine) as connection:
        runs = select(RunRow.id).where(of_project)
        connection.execute(delete(CheckpointRow).where(CheckpointRow.run_id.in_(runs)))
        connection.execute(delete(AuditRow).where(AuditRow.project_id == project_id))
        connection.execute(delete(RunRow).where(of_project))
        connection.execute(delete(JobRow).where(JobRow.project_id == project_id))
        connection.execute(delete(ProjectRow).where(ProjectRow.id == project_id))


def _cut_examples(engine: Engine, project_id: int) -> bool:
    """Delete a chunk of examples with their decisions; return whether any was left."""
    with writing(engine) as connection:
        head = connection.execute(
            select(ExampleRow.split, ExampleRow.position)
            .where(ExampleRow.project_id == project_id)
            .order_by(ExampleRow.split, ExampleRow.position)
            .limit(1)
        ).one_or_none()
        if head is None:
            return False
        # By position: that is an index, and so a chunk is found without sorting what is left.
        chunk = (
            ExampleRow.project_id == project_id,
            ExampleRow.split == head.split,
            ExampleRow.position < head.position + CHUNK,
        )
        # An undo and what it undoes are of the same example, so both go in one statement.
        ids = select(ExampleRow.id).where(*chunk)
        # Opinions are about decisions.
        for row in (AuditItemRow, OpinionRow, SecondLookRow, LeaseRow, DecisionRow):
            connection.execute(delete(row).where(row.example_id.in_(ids)))
        connection.execute(delete(ExampleRow).where(*chunk))
        return True
