"""Jobs: long work as rows that say who does it, how far it is, and whether it is still alive.

The table lets every process see the work of the others, keeps a second job away from a project
that has an active one, and outlives them all: a job whose process died is found and failed, one
that is silent is told. A process is known by what it was started as, because its number is given
to another when it is gone.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, insert, make_url, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError

from relabel.db.engine import is_read_only, reading, writing
from relabel.db.project_rules import check_slug, project_in
from relabel.db.schema import JobRow, ProjectRow, is_shown, utc_now
from relabel.errors import JobError, NotFoundError
from relabel.workspace import DATABASE_VARIABLE

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ACTIVE: tuple[JobState, ...] = ("queued", "running")


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


def process_is_alive(pid: int) -> bool:
    """Return whether a process of this host exists and is more than a zombie."""
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed child stays a zombie until its parent asks for it, which a server may never do.
    # Linux tells in /proc; the state follows the command name, which is in parentheses.
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(errors="replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return not Path("/proc/self/stat").exists()


def is_worker(pid: int, job_id: int, url: URL) -> bool | None:
    """Return whether a process is the one that was started for a job.

    A number is given to another process when its own is gone, after a restart of the machine
    soon. So the process is known by what it was started as.

    Args:
        pid: A process of this host.
        job_id: The job.
        url: Its database.

    Returns:
        None where the system does not tell.
    """
    arguments = read_arguments(pid)
    if arguments is None:
        return None
    if arguments[-2:] != ["work", str(job_id)]:
        return False
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None  # another account's
    start = f"{DATABASE_VARIABLE}=".encode()
    named = [entry.removeprefix(start) for entry in entries if entry.startswith(start)]
    try:
        return bool(named) and _same_database(make_url(named[0].decode()), url)
    except (ArgumentError, ValueError):
        return False


def read_arguments(pid: int) -> list[str] | None:
    """Return what a process was started as; None where the system does not tell."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return [part.decode(errors="replace") for part in content.split(b"\0")[:-1]] or None


def _same_database(one: URL, other: URL) -> bool:
    if one.get_backend_name() != other.get_backend_name():
        return False
    if one.get_backend_name() != "sqlite":
        return (one.host, one.port, one.database) == (other.host, other.port, other.database)
    return Path(str(one.database)).resolve() == Path(str(other.database)).resolve()


# A worker should send a heartbeat every few seconds. After this long without one, a job of
# another host counts as dead, and one that is queued as never started.
STALE_AFTER = timedelta(minutes=2)
# On this host a live process is good evidence, and a suspended laptop makes every heartbeat old.
# Where the process cannot be told to be the job's own, only after this long it more likely is not.
PID_TRUSTED_FOR = timedelta(hours=12)


def fail_dead_jobs(engine: Engine, *, stale_after: timedelta = STALE_AFTER) -> list[Job]:
    """Fail the active jobs whose process is gone; call it when a server or command starts.

    Args:
        engine: The database.
        stale_after: Silence after which a job of another host, or a queued one, is dead.

    Returns:
        The jobs that were failed.
    """
    if is_read_only(engine):
        return []  # the books stay as they are
    now = utc_now()
    # Pages ask every second: where no job is dead, nobody is kept from writing.
    with reading(engine) as connection:
        if not _find_dead(connection, now, stale_after):
            return []
    with writing(engine) as connection:
        dead = _find_dead(connection, now, stale_after)
        for job, reason in dead:
            connection.execute(
                update(JobRow)
                .where(JobRow.id == job.id)
                .values(
                    state="failed",
                    finished_at=now,
                    error=f"{reason} at {100 * job.progress:.0f}%. Start it again: it goes on from "
                    "what is saved.",
                )
            )
        return [job_in(connection, job.id) for job, _ in dead]


def describe_silence(job: Job) -> str:
    """Return since when a job that counts as running gave no sign of life; "" if it did."""
    silence = utc_now() - (job.heartbeat_at or job.created_at)
    if job.state != "running" or silence <= STALE_AFTER:
        return ""
    minutes = int(silence.total_seconds() // 60)
    since = f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
    return (
        f"No sign of life for {since}, though its process {job.pid} on {job.hostname} is there: it "
        "hangs, is stopped, or cannot reach the database. Wait for it, or cancel it: a process "
        "that hangs is ended by that, and what was finished is kept."
    )


def _find_dead(
    connection: Connection, now: datetime, stale_after: timedelta
) -> list[tuple[Job, str]]:
    """Return the dead jobs, each with what happened to it."""
    rows = connection.execute(select(JobRow.__table__).where(JobRow.state.in_(ACTIVE)))
    jobs = [Job(**row._mapping) for row in rows]
    url = connection.engine.url
    return [(job, reason) for job in jobs if (reason := _find_death(job, now, stale_after, url))]


def _find_death(job: Job, now: datetime, stale_after: timedelta, url: URL) -> str:
    """Return what happened to a job that is dead; "" for one that is not, or may not be."""
    silence = now - (job.heartbeat_at or job.created_at)
    if job.state == "queued" or job.hostname != socket.gethostname() or job.pid is None:
        # A clock that was set back makes a sign of life one of the future.
        is_silent = silence > stale_after or silence < -PID_TRUSTED_FOR
        return "Its process ended without a word" if is_silent else ""
    if not process_is_alive(job.pid):
        return "Its process ended without a word"
    # The job's own process lives, whatever the clock says; what has no log was a terminal's.
    is_own = is_worker(job.pid, job.id, url) if job.log else None
    if is_own is False and silence > stale_after:
        return f"Its process is gone, and another program has its number {job.pid}, the job was"
    if is_own is None and silence > PID_TRUSTED_FOR:
        return (
            f"It gave no sign of life for {PID_TRUSTED_FOR.total_seconds() / 3600:.0f} hours, and "
            f"the process {job.pid} is more likely another program's by now; the job was"
        )
    return ""


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


def claim_job(engine: Engine, job_id: int) -> Job:
    """Claim a queued job for this process; it is running from now on.

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
    """Record that a running job is alive, and how far it is.

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
    """Cancel a job: a queued one now, a running one at its next heartbeat.

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
