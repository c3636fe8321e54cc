"""Jobs whose process is gone without a word: they fail. Those that are silent are told."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from sqlalchemy import URL, Connection, Engine, select, update

from tracin_core.reviews.database import is_read_only, reading, writing
from tracin_core.reviews.job_rows import ACTIVE, Job, job_in
from tracin_core.reviews.processes import is_worker, process_is_alive
from tracin_core.reviews.schema import JobRow, utc_now

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
    """Say since when a job that counts as running has shown no sign of life; "" if it has."""
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
