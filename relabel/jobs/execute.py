"""The worker process of a job: claim it, execute it, and record how it ended.

``run_worker`` is the process that ``launch`` starts. ``execute_job`` does the work of a claimed
job with heartbeats, there or inside a terminal's command, and enters the outcome whatever happens.
A worker waits longer for a locked database than a person at a page would (``set_busy_timeout``).
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

from sqlalchemy import Engine, event

from relabel.db.engine import open_database
from relabel.db.jobs import Job, claim_job, finish_job, get_job
from relabel.errors import DatabaseError, DatabaseFullError, JobError
from relabel.jobs.progress import JobCancelled, JobReporter
from relabel.jobs.tasks import TaskContext, TaskFunction, find_task
from relabel.logs import StageLog, begin_logging
from relabel.progress import OnProgress, ignore_progress
from relabel.workspace import Workspace
from tracin_core.errors import TracInError

# Seconds that the end of a job waits for a database that is locked or away.
PATIENCE = 120.0
_STOPPED = (
    "Its process was told to end, by a person or because the machine was shut down. Start it "
    "again: it goes on from what is saved."
)
# People at the pages come first: on two cores, a job would otherwise double their waiting.
NICENESS = 5
_LOGGER = logging.getLogger(__name__)


def set_busy_timeout(engine: Engine, seconds: float) -> None:
    """Set how long every later use of the engine waits for another writer.

    A press in the review that waits for five seconds should fail and say so; a job of an hour
    should not. PostgreSQL waits by itself.
    """
    if engine.dialect.name != "sqlite":
        return
    milliseconds = int(1000 * seconds)

    # On each checkout: the pool may hold connections that were set up before.
    def set_timeout(connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    event.listen(engine, "checkout", set_timeout)


class JobStopped(BaseException):
    """The process was told to end, for instance because the machine is shut down."""


def execute_job(
    engine: Engine,
    workspace: Workspace,
    job: Job,
    show: OnProgress = ignore_progress,
    work: TaskFunction | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
) -> Job:
    """Execute a job, with heartbeats, and enter its outcome.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        job: Claimed by this process.
        show: Told about every step as well.
        work: Does it instead of the kind's own work.
        on_failure: Told what stopped the work before that is recorded in the job.

    Returns:
        The job as it ended, in success.

    Raises:
        TracInError: What stopped the work, once it is recorded in the job.
        JobError: If the job was cancelled, or was taken for dead meanwhile.
        KeyboardInterrupt: After Ctrl-C; the job is cancelled then.
        JobStopped: If the process was told to end; the job has failed then.
    """
    set_busy_timeout(engine, PATIENCE)
    try:
        try:
            result = _work(engine, workspace, job, show, work)
        except BaseException as error:
            if on_failure:
                on_failure(error)
            raise
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
    """Describe what an unexpected error means to the person who waits for the job."""
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


def _work(
    engine: Engine, workspace: Workspace, job: Job, show: OnProgress, work: TaskFunction | None
) -> dict[str, Any]:
    spec = find_task(job.kind)
    with JobReporter(engine, job.id, spec.stage_shares, show=show) as reporter:
        return (work or spec.work)(
            TaskContext(
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
        except DatabaseFullError:
            raise  # to wait makes no room
        except DatabaseError as failure:
            if time.monotonic() > deadline:
                raise
            _LOGGER.warning("The outcome cannot be entered yet: %s", failure)
            time.sleep(1.0)


def run_worker(workspace: Workspace, job_id: int) -> int:
    """Execute a queued job in this process.

    Args:
        workspace: Where the project's files are.
        job_id: The job.

    Returns:
        The exit code: 0 if the job ended as it should, by success or by being cancelled, else 1.
    """
    begin_logging()
    signal.signal(signal.SIGTERM, _stop)
    engine = open_database(workspace.database_url)
    told: list[BaseException] = []

    def tell(error: BaseException) -> None:
        if error not in told:
            told.append(error)
            _log_failure(error)

    try:
        job = claim_job(engine, job_id)
        os.nice(NICENESS)
        _LOGGER.info("%s begins, process %d, options %s", describe_work(job), job.pid, job.options)
        try:
            # What went wrong is in the log before anybody can see that something did.
            execute_job(engine, workspace, job, StageLog(), on_failure=tell)
        except JobError as error:
            _LOGGER.info("%s", error)
            return 0 if get_job(engine, job_id).state == "cancelled" else 1
        _LOGGER.info("%s has succeeded", describe_work(job))
        return 0
    except (Exception, JobStopped) as error:
        tell(error)
    finally:
        engine.dispose()
        sys.stdout.flush()
    return 1


def _log_failure(error: BaseException) -> None:
    if isinstance(error, (JobCancelled, KeyboardInterrupt)):
        return  # the job's own outcome says it
    if isinstance(error, TracInError):
        _LOGGER.error("%s", error)
    elif isinstance(error, JobStopped):
        _LOGGER.error("The process was told to end.")
    else:
        _LOGGER.error("A bug stopped the job", exc_info=error)


def _stop(number: int, frame: FrameType | None) -> None:
    raise JobStopped
