"""Do the work of a job that this process has claimed, and record how it ended, whatever happens."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import DatabaseError, JobError, TracInError
from tracin_core.jobs.kinds import Assignment, Work, find_kind
from tracin_core.jobs.patience import wait_longer
from tracin_core.jobs.reporting import JobCancelled, JobReporter
from tracin_core.reviews.jobs import Job, finish_job
from tracin_core.work.progress import OnProgress, ignore_progress

# Seconds that the end of a job waits for a database that is locked or away.
PATIENCE = 120.0
_LOGGER = logging.getLogger(__name__)


class JobStopped(BaseException):
    """The process was told to end, for instance because the machine is shut down."""


def carry_out(
    engine: Engine,
    workspace: Workspace,
    job: Job,
    show: OnProgress = ignore_progress,
    work: Work | None = None,
) -> Job:
    """Do a job's work, with heartbeats, and enter its outcome.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        job: Claimed by this process.
        show: Told about every step as well.
        work: Does it instead of the kind's own work.

    Returns:
        The job as it ended, in success.

    Raises:
        TracInError: What stopped the work, once it is recorded in the job.
        JobError: If the job was cancelled, or was taken for dead meanwhile.
        KeyboardInterrupt: After Ctrl-C; the job is cancelled then.
        JobStopped: If the process was told to end; the job has failed then.
    """
    wait_longer(engine, PATIENCE)
    try:
        result = _work(engine, workspace, job, show, work)
    except JobCancelled as cancelled:
        _finish(engine, job, "cancelled")
        raise JobError(
            f"{describe_work(job)} was cancelled. What was finished is kept; start it again to go "
            "on from there."
        ) from cancelled
    except KeyboardInterrupt:
        _finish(engine, job, "cancelled")
        raise
    except JobStopped:
        _finish(engine, job, "failed", error=_STOPPED)
        raise
    except TracInError as error:
        _finish(engine, job, "failed", error=str(error))
        raise
    except BaseException as error:
        _finish(engine, job, "failed", error=explain_bug(error))
        raise
    ended = _finish(engine, job, "succeeded", result=result)
    if ended is None:
        raise JobError(
            f"{describe_work(job)} was finished, but was taken for dead meanwhile. What it made is "
            "kept; start it again, and it is found."
        )
    return ended


def describe_work(job: Job) -> str:
    """Return "Job 7 (train digits)"."""
    return f"Job {job.id} ({job.kind} {job.project_slug})"


def explain_bug(error: BaseException) -> str:
    """Say what an unexpected error means to the person who waits for the job."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "The memory ran out. Expected enough for one batch of examples: close other programs, "
            "or start it again with a smaller batch size; what is finished is kept."
        )
    told = " ".join(str(error).split())[:300]
    return (
        f"It met an error that is not foreseen: {type(error).__name__}: {told}. The log has the "
        "details. Start it again: it goes on from what is saved."
    )


_STOPPED = (
    "Its process was told to end, by a person or because the machine was shut down. Start it "
    "again: it goes on from what is saved."
)


def _work(
    engine: Engine, workspace: Workspace, job: Job, show: OnProgress, work: Work | None
) -> dict[str, Any]:
    kind = find_kind(job.kind)
    with JobReporter(engine, job.id, kind.plan, show=show) as reporter:
        return (work or kind.work)(
            Assignment(
                engine=engine,
                workspace=workspace,
                slug=job.project_slug,
                options=job.options,
                on_progress=reporter,
            )
        )


def _finish(
    engine: Engine,
    job: Job,
    state: Literal["succeeded", "failed", "cancelled"],
    *,
    error: str = "",
    result: dict[str, Any] | None = None,
) -> Job | None:
    """Enter the outcome, waiting for the database; None if others have ended the job before."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return finish_job(engine, job.id, state, error=error, result=result)
        except JobError as ended:
            _LOGGER.warning("%s", ended)
            return None
        except DatabaseError as failure:
            if time.monotonic() > deadline:
                raise
            _LOGGER.warning("The outcome cannot be entered yet: %s", failure)
            time.sleep(1.0)
