"""Long work as rows: who does it, how far it is, whether it is still alive.

The table lets every process see the work of the others, keeps a second job away from a project
that has an active one, and outlives them all: a job whose process died is found and failed.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import JobError
from tracin_core.reviews.database import writing
from tracin_core.reviews.dead_jobs import PID_TRUSTED_FOR, STALE_AFTER, fail_dead_jobs
from tracin_core.reviews.job_rows import (
    ACTIVE,
    FINISHED,
    Job,
    JobState,
    active_job,
    get_job,
    job_in,
    list_jobs,
)
from tracin_core.reviews.processes import process_is_alive
from tracin_core.reviews.project_rows import project_in
from tracin_core.reviews.project_rules import check_slug
from tracin_core.reviews.schema import JobRow, ProjectRow, is_shown, utc_now

__all__ = [
    "ACTIVE",
    "FINISHED",
    "PID_TRUSTED_FOR",
    "STALE_AFTER",
    "Job",
    "JobState",
    "create_job",
    "link_job",
    "claim_job",
    "heartbeat",
    "finish_job",
    "request_cancel",
    "get_job",
    "active_job",
    "list_jobs",
    "fail_dead_jobs",
    "process_is_alive",
]


def create_job(
    engine: Engine,
    slug: str,
    kind: str,
    *,
    project_id: int | None = None,
    options: Mapping[str, Any] | None = None,
    message: str = "",
    log: str = "",
) -> Job:
    """Queue a job.

    Args:
        engine: The database.
        slug: The project's name; for an import it need not exist yet.
        kind: What is to be done, such as "import" or "score".
        project_id: The project; None finds it by its name, if it exists.
        options: What exactly is to be done, as JSON.
        message: What is waited for, for people.
        log: Path of the log, relative to the workspace; ``{id}`` becomes the job's id.

    Raises:
        JobError: If the project has an active one.
        InputError: If the name cannot be a project's.
        NotFoundError: If there is no project of this id.
    """
    check_slug(slug)
    try:
        with writing(engine) as connection:
            if project_id is not None:
                project_in(connection, project_id)
            job_id = connection.scalars(
                insert(JobRow)
                .values(
                    project_id=project_id or _project_of(connection, slug),
                    project_slug=slug,
                    kind=kind,
                    state="queued",
                    progress=0.0,
                    message=message,
                    cancel_requested=False,
                    error="",
                    created_at=utc_now(),
                    options=dict(options or {}),
                    result={},
                    log=log,
                )
                .returning(JobRow.id)
            ).one()
            name = log.replace("{id}", str(job_id))
            connection.execute(update(JobRow).where(JobRow.id == job_id).values(log=name))
            return job_in(connection, job_id)
    except IntegrityError as error:
        active = active_job(engine, slug)
        if active is None:
            raise
        raise JobError(
            f"The project is busy: {active.kind} is {active.state} "
            f"({100 * active.progress:.0f}%). Expected no active job. Wait for it to finish, or "
            "cancel it."
        ) from error


def link_job(engine: Engine, job_id: int, project_id: int) -> None:
    """Let a job point at the project that it has made.

    Raises:
        NotFoundError: If there is no such job or project.
    """
    with writing(engine) as connection:
        job_in(connection, job_id)
        project_in(connection, project_id)
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(project_id=project_id))


def claim_job(engine: Engine, job_id: int) -> Job:
    """Take a queued job for this process; it is running from now on.

    Raises:
        JobError: If it is not queued any more: another process was first, or it was cancelled.
        NotFoundError: If there is no such job.
    """
    now = utc_now()
    with writing(engine) as connection:
        claimed = connection.execute(
            update(JobRow)
            .where(JobRow.id == job_id, JobRow.state == "queued")
            .values(
                state="running",
                pid=os.getpid(),
                hostname=socket.gethostname(),
                started_at=now,
                heartbeat_at=now,
            )
        )
        job = job_in(connection, job_id)
        if claimed.rowcount != 1:
            raise JobError(
                f"The job is {job.state}. Expected it to be queued. Start a new one if it is "
                "still wanted."
            )
        return job


def heartbeat(
    engine: Engine,
    job_id: int,
    *,
    progress: float | None = None,
    message: str | None = None,
    seconds_left: float | None = None,
) -> bool:
    """Show that a running job is alive, and how far it is.

    Args:
        engine: The database.
        job_id: The job.
        progress: From 0 to 1; None leaves it.
        message: What is being done; None leaves it.
        seconds_left: Estimate of the time until the end; None is unknown.

    Returns:
        Whether the job should stop, because somebody asked for it.

    Raises:
        JobError: If the job is not running any more: it was taken for dead. Stop then.
        NotFoundError: If there is no such job.
    """
    left = seconds_left if seconds_left is not None and math.isfinite(seconds_left) else None
    values: dict[str, Any] = {"heartbeat_at": utc_now(), "seconds_left": left}
    if progress is not None:
        values["progress"] = min(1.0, max(0.0, float(progress)))
    if message is not None:
        values["message"] = message
    with writing(engine) as connection:
        _update_active(connection, job_id, ("running",), values)
        return job_in(connection, job_id).cancel_requested


def finish_job(
    engine: Engine,
    job_id: int,
    state: Literal["succeeded", "failed", "cancelled"],
    *,
    error: str = "",
    message: str | None = None,
    result: Mapping[str, Any] | None = None,
) -> Job:
    """End a job.

    Args:
        engine: The database.
        job_id: The job.
        state: "succeeded", "failed" or "cancelled".
        error: What went wrong, for people.
        message: Last words; None leaves what was there.
        result: What came of it, as JSON; None leaves it empty.

    Raises:
        JobError: If it has ended already.
        NotFoundError: If there is no such job.
    """
    values: dict[str, Any] = {
        "state": state,
        "error": error,
        "finished_at": utc_now(),
        "seconds_left": None,
    }
    if result is not None:
        values["result"] = dict(result)
    if state == "succeeded":
        values["progress"] = 1.0
    if message is not None:
        values["message"] = message
    with writing(engine) as connection:
        _update_active(connection, job_id, ACTIVE, values)
        return job_in(connection, job_id)


def request_cancel(engine: Engine, job_id: int) -> Job:
    """Ask a job to stop: a queued one is cancelled now, a running one at its next heartbeat.

    Raises:
        JobError: If it has ended already.
        NotFoundError: If there is no such job.
    """
    with writing(engine) as connection:
        _update_active(connection, job_id, ACTIVE, {"cancel_requested": True})
        connection.execute(
            update(JobRow)
            .where(JobRow.id == job_id, JobRow.state == "queued")
            .values(state="cancelled", finished_at=utc_now())
        )
        return job_in(connection, job_id)


def _project_of(connection: Connection, slug: str) -> int | None:
    found: int | None = connection.scalar(
        select(ProjectRow.id).where(ProjectRow.slug == slug, is_shown)
    )
    return found


def _update_active(
    connection: Connection, job_id: int, states: tuple[str, ...], values: dict[str, Any]
) -> None:
    changed = connection.execute(
        update(JobRow).where(JobRow.id == job_id, JobRow.state.in_(states)).values(**values)
    )
    if changed.rowcount != 1:
        job = job_in(connection, job_id)
        reason = f" ({job.error})" if job.error else ""
        raise JobError(
            f"The job has {job.state} already{reason}. Expected it to be {' or '.join(states)}. "
            "Start a new one if it is still wanted."
        )
