"""Jobs as they are read from their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, select

from tracin_core.errors import NotFoundError
from tracin_core.reviews.database import reading
from tracin_core.reviews.schema import JobRow

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ACTIVE: tuple[JobState, ...] = ("queued", "running")
FINISHED: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    """Long work of a project.

    Attributes:
        project_id: None while there is no such project yet, as before an import.
        project_slug: The project's name, what the job is kept apart from others by.
        options: What it was asked to do, as JSON; result: what came of it.
        seconds_left: The worker's own estimate, or None.
        log: Path of its log, relative to the workspace; "" where it has none.
        progress: From 0 to 1.
        message: What is being done, for people.
        error: What went wrong, for people; empty if nothing.
    """

    id: int
    project_id: int | None
    kind: str
    state: str
    progress: float
    message: str
    pid: int | None
    hostname: str | None
    heartbeat_at: datetime | None
    cancel_requested: bool
    error: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    project_slug: str
    options: Mapping[str, Any]
    result: Mapping[str, Any]
    seconds_left: float | None
    log: str


def get_job(engine: Engine, job_id: int) -> Job:
    """Return a job.

    Raises:
        NotFoundError: If there is none of this id.
    """
    with reading(engine) as connection:
        return job_in(connection, job_id)


def active_job(engine: Engine, slug: str) -> Job | None:
    """Return the queued or running job of the project of this name, or None."""
    with reading(engine) as connection:
        row = connection.execute(
            select(JobRow.__table__).where(JobRow.project_slug == slug, JobRow.state.in_(ACTIVE))
        ).one_or_none()
    return None if row is None else Job(**row._mapping)


def list_jobs(
    engine: Engine,
    slug: str | None = None,
    limit: int | None = 50,
    *,
    kinds: Sequence[str] | None = None,
) -> list[Job]:
    """Return the jobs of a project, or of all for None, newest first.

    Args:
        engine: The database.
        slug: The project's name.
        limit: At most so many; None for all.
        kinds: Of these kinds alone.
    """
    query = select(JobRow.__table__).order_by(JobRow.id.desc()).limit(limit)
    if slug is not None:
        query = query.where(JobRow.project_slug == slug)
    if kinds is not None:
        query = query.where(JobRow.kind.in_(kinds))
    with reading(engine) as connection:
        return [Job(**row._mapping) for row in connection.execute(query)]


def job_in(connection: Connection, job_id: int) -> Job:
    """Return a job, inside a transaction.

    Raises:
        NotFoundError: If there is none of this id.
    """
    row = connection.execute(select(JobRow.__table__).where(JobRow.id == job_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"Found no job with id {job_id}. Choose one from the list.")
    return Job(**row._mapping)
