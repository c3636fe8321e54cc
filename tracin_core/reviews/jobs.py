"""Long work as rows: who does it, how far it is, whether it is still alive.

The table lets every process see the work of the others, keeps a second job away from a project
that has an active one, and outlives them all: a job whose process died is found and failed.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import JobError, NotFoundError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.processes import process_is_alive
from tracin_core.reviews.projects import project_in
from tracin_core.reviews.schema import JobRow, utc_now

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ACTIVE: tuple[JobState, ...] = ("queued", "running")
FINISHED: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")

# A worker should send a heartbeat every few seconds. After this long without one, a job of
# another host counts as dead, and one that is queued as never started.
STALE_AFTER = timedelta(minutes=2)
# On this host a live process id is good evidence, and a suspended laptop makes every heartbeat
# old; only after this long has the id more likely gone to another process.
PID_TRUSTED_FOR = timedelta(hours=12)


@dataclass(frozen=True)
class Job:
    """Long work of a project.

    Attributes:
        progress: From 0 to 1.
        message: What is being done, for people.
        error: What went wrong, for people; empty if nothing.
    """

    id: int
    project_id: int
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


def create_job(engine: Engine, project_id: int, kind: str, message: str = "") -> Job:
    """Queue a job.

    Raises:
        JobError: If the project has an active one.
        NotFoundError: If there is no such project.
    """
    try:
        with writing(engine) as connection:
            project_in(connection, project_id)
            job_id = connection.scalars(
                insert(JobRow)
                .values(
                    project_id=project_id,
                    kind=kind,
                    state="queued",
                    progress=0.0,
                    message=message,
                    cancel_requested=False,
                    error="",
                    created_at=utc_now(),
                )
                .returning(JobRow.id)
            ).one()
            return _job_in(connection, job_id)
    except IntegrityError as error:
        active = active_job(engine, project_id)
        if active is None:
            raise
        raise JobError(
            f"The project is busy: {active.kind} is {active.state} "
            f"({100 * active.progress:.0f}%). Expected no active job. Wait for it to finish, or "
            "cancel it."
        ) from error


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
        job = _job_in(connection, job_id)
        if claimed.rowcount != 1:
            raise JobError(
                f"The job is {job.state}. Expected it to be queued. Start a new one if it is "
                "still wanted."
            )
        return job


def heartbeat(
    engine: Engine, job_id: int, *, progress: float | None = None, message: str | None = None
) -> bool:
    """Show that a running job is alive, and how far it is.

    Args:
        engine: The database.
        job_id: The job.
        progress: From 0 to 1; None leaves it.
        message: What is being done; None leaves it.

    Returns:
        Whether the job should stop, because somebody asked for it.

    Raises:
        JobError: If the job is not running any more: it was taken for dead. Stop then.
        NotFoundError: If there is no such job.
    """
    values: dict[str, Any] = {"heartbeat_at": utc_now()}
    if progress is not None:
        values["progress"] = min(1.0, max(0.0, float(progress)))
    if message is not None:
        values["message"] = message
    with writing(engine) as connection:
        _update_active(connection, job_id, ("running",), values)
        return _job_in(connection, job_id).cancel_requested


def finish_job(
    engine: Engine,
    job_id: int,
    state: Literal["succeeded", "failed", "cancelled"],
    *,
    error: str = "",
    message: str | None = None,
) -> Job:
    """End a job.

    Args:
        engine: The database.
        job_id: The job.
        state: "succeeded", "failed" or "cancelled".
        error: What went wrong, for people.
        message: Last words; None leaves what was there.

    Raises:
        JobError: If it has ended already.
        NotFoundError: If there is no such job.
    """
    values: dict[str, Any] = {"state": state, "error": error, "finished_at": utc_now()}
    if state == "succeeded":
        values["progress"] = 1.0
    if message is not None:
        values["message"] = message
    with writing(engine) as connection:
        _update_active(connection, job_id, ACTIVE, values)
        return _job_in(connection, job_id)


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
        return _job_in(connection, job_id)


def get_job(engine: Engine, job_id: int) -> Job:
    """Return a job.

    Raises:
        NotFoundError: If there is none of this id.
    """
    with reading(engine) as connection:
        return _job_in(connection, job_id)


def active_job(engine: Engine, project_id: int) -> Job | None:
    """Return the project's queued or running job, or None."""
    with reading(engine) as connection:
        row = connection.execute(
            select(JobRow.__table__).where(
                JobRow.project_id == project_id, JobRow.state.in_(ACTIVE)
            )
        ).one_or_none()
    return None if row is None else Job(**row._mapping)


def list_jobs(engine: Engine, project_id: int, limit: int = 50) -> list[Job]:
    """Return a project's jobs, newest first."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(JobRow.__table__)
            .where(JobRow.project_id == project_id)
            .order_by(JobRow.id.desc())
            .limit(limit)
        )
        return [Job(**row._mapping) for row in rows]


def fail_dead_jobs(engine: Engine, *, stale_after: timedelta = STALE_AFTER) -> list[Job]:
    """Fail the active jobs whose process is gone; call it when a server or command starts.

    Args:
        engine: The database.
        stale_after: Silence after which a job of another host, or a queued one, is dead.

    Returns:
        The jobs that were failed.
    """
    now = utc_now()
    with writing(engine) as connection:
        rows = connection.execute(select(JobRow.__table__).where(JobRow.state.in_(ACTIVE))).all()
        dead = [
            job for job in (Job(**row._mapping) for row in rows) if _dead(job, now, stale_after)
        ]
        for job in dead:
            connection.execute(
                update(JobRow)
                .where(JobRow.id == job.id)
                .values(
                    state="failed",
                    finished_at=now,
                    error=f"Its process ended without a word at {100 * job.progress:.0f}%. Start "
                    "it again: it goes on from what is saved.",
                )
            )
        return [_job_in(connection, job.id) for job in dead]


def _dead(job: Job, now: datetime, stale_after: timedelta) -> bool:
    silence = now - (job.heartbeat_at or job.created_at)
    if job.state == "queued" or job.hostname != socket.gethostname() or job.pid is None:
        return silence > stale_after
    return not process_is_alive(job.pid) or silence > PID_TRUSTED_FOR


def _update_active(
    connection: Connection, job_id: int, states: tuple[str, ...], values: dict[str, Any]
) -> None:
    changed = connection.execute(
        update(JobRow).where(JobRow.id == job_id, JobRow.state.in_(states)).values(**values)
    )
    if changed.rowcount != 1:
        job = _job_in(connection, job_id)
        reason = f" ({job.error})" if job.error else ""
        raise JobError(
            f"The job has {job.state} already{reason}. Expected it to be {' or '.join(states)}. "
            "Start a new one if it is still wanted."
        )


def _job_in(connection: Connection, job_id: int) -> Job:
    row = connection.execute(select(JobRow.__table__).where(JobRow.id == job_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"Found no job with id {job_id}. Choose one from the list.")
    return Job(**row._mapping)
