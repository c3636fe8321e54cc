"""Jobs whose process is gone without a word: found, and failed."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, select, update

from tracin_core.reviews.database import is_read_only, reading, writing
from tracin_core.reviews.job_rows import ACTIVE, Job, job_in
from tracin_core.reviews.processes import process_is_alive
from tracin_core.reviews.schema import JobRow, utc_now

# A worker should send a heartbeat every few seconds. After this long without one, a job of
# another host counts as dead, and one that is queued as never started.
STALE_AFTER = timedelta(minutes=2)
# On this host a live process id is good evidence, and a suspended laptop makes every heartbeat
# old; only after this long has the id more likely gone to another process.
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
        return [job_in(connection, job.id) for job in dead]


def _find_dead(connection: Connection, now: datetime, stale_after: timedelta) -> list[Job]:
    rows = connection.execute(select(JobRow.__table__).where(JobRow.state.in_(ACTIVE)))
    return [job for job in (Job(**row._mapping) for row in rows) if _dead(job, now, stale_after)]


def _dead(job: Job, now: datetime, stale_after: timedelta) -> bool:
    silence = now - (job.heartbeat_at or job.created_at)
    if job.state == "queued" or job.hostname != socket.gethostname() or job.pid is None:
        return silence > stale_after
    return not process_is_alive(job.pid) or silence > PID_TRUSTED_FOR
