"""Cancel a job: by asking its process, or, where that has been silent for long, by ending it."""

from __future__ import annotations

import os
import signal
import socket
import time

from sqlalchemy import Engine

from tracin_core.errors import JobError
from tracin_core.reviews.dead_jobs import describe_silence
from tracin_core.reviews.jobs import Job, finish_job, get_job, request_cancel
from tracin_core.reviews.processes import is_worker, process_is_alive

# Seconds that a process has to end by itself when it is told to.
GRACE = 2.0


def cancel_job(engine: Engine, job_id: int) -> Job:
    """Ask a job to stop; end one that has shown no sign of life, and close its books.

    What jobs write is there whole or not at all, so they may be ended anywhere. A process is
    ended only where it is certainly the job's own. Another one stops by itself when it wakes: it
    finds that the job is not its own any more.

    Raises:
        JobError: If it has ended already.
        NotFoundError: If there is no such job.
    """
    silent = describe_silence(get_job(engine, job_id))
    job = request_cancel(engine, job_id)
    if not silent or job.state != "running":
        return job
    try:
        # First the books: the process would enter that it was told to end, which is no cancelling.
        job = finish_job(engine, job_id, "cancelled")
    except JobError:
        return get_job(engine, job_id)  # it has heard it by itself
    pid = job.pid if job.hostname == socket.gethostname() else None
    if pid is not None and job.log and is_worker(pid, job.id, engine.url):
        _end(engine, job, pid)
    return job


def _end(engine: Engine, job: Job, pid: int) -> None:
    """End a job's process: as a person would, then, if it does not hear, at once."""
    try:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # one that was stopped hears nothing else
        deadline = time.monotonic() + GRACE
        while process_is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if process_is_alive(pid) and is_worker(pid, job.id, engine.url):
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended
