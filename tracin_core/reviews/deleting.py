"""A project is deleted: hidden at once, then taken away a chunk at a time.

The first transaction hides it and frees its name. From then on nobody sees it, and what is left
of it goes in short transactions, between which people can decide about other projects. A kill
half-way leaves a hidden project, which `finish_deletions` takes away.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from sqlalchemy import Connection, Engine, delete, or_, select, update

from tracin_core.errors import JobError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.job_rows import ACTIVE
from tracin_core.reviews.project_rows import project_in
from tracin_core.reviews.schema import (
    DELETING,
    CheckpointRow,
    DecisionRow,
    ExampleRow,
    JobRow,
    ProjectRow,
    RunRow,
    ScoringRow,
    is_shown,
)
from tracin_core.reviews.scorings import PAUSE, remove_scoring

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
    """Do the first step of a deletion: nobody sees the project any more, and its name is free.

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
    """Take away the rows of projects whose deletion was cut off; call it when a server starts.

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
        connection.execute(delete(DecisionRow).where(DecisionRow.example_id.in_(ids)))
        connection.execute(delete(ExampleRow).where(*chunk))
        return True
