"""Start, retry and cancel jobs.

``start_job`` starts a process of its own, which outlives whoever started it. ``run_job_inline``
does the same work in the process of a terminal's command, entered in the job table like any other.
``cancel_job`` asks a job to stop, and ends the process of one that has been silent for long.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, make_url

from relabel.db.engine import open_database
from relabel.db.jobs import (
    ACTIVE,
    Job,
    active_job,
    claim_job,
    create_job,
    describe_silence,
    fail_dead_jobs,
    finish_job,
    get_job,
    is_worker,
    process_is_alive,
    request_cancel,
)
from relabel.db.project_rules import check_slug
from relabel.db.projects import get_project
from relabel.errors import JobError
from relabel.jobs.execute import execute_job
from relabel.jobs.tasks import TaskFunction, find_task, read_consent
from relabel.logs import LOG, log_path, read_log
from relabel.models.user.config import require_consent
from relabel.progress import OnProgress, ignore_progress
from relabel.projects.delete import clear_leftovers
from relabel.workspace import (
    DATABASE_VARIABLE,
    REPOSITORY_ROOT,
    WORKSPACE_VARIABLE,
    Workspace,
    find_program_name,
)
from tracin_core.errors import TracInError

# This program as a command.
PROGRAM = (sys.executable, "-m", "relabel")
# Seconds that a process has to end by itself when it is told to.
GRACE = 2.0


def start_job(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    kind: str,
    options: Mapping[str, Any] | None = None,
    *,
    program: Sequence[str] = PROGRAM,
) -> Job:
    """Start a job in a process of its own and return at once.

    The process has its own session, no terminal and its own log, so it goes on when the browser's
    tab is closed and when the server is stopped or killed.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project; for an import one that need not exist.
        kind: "import", "train" (then scores too, unless ``then_score`` is false), "score" or
            "rescore".
        options: What the kind needs, plain JSON. Paths must be absolute.
        program: The command line of this program.

    Returns:
        The job, queued; the process claims it within a second.

    Raises:
        JobError: If the project has an active job, or the process cannot be started.
        NotFoundError: If there is no such project.
        InputError: If the name can be no project's.
    """
    job = queue_job(engine, workspace, slug, kind, options or {}, log=LOG)
    try:
        process = _spawn(workspace, job, program)
    except OSError as error:
        told = f"Its process could not be started: {error.strerror or error}. Free memory or disk "
        told += "space, and start it again."
        finish_job(engine, job.id, "failed", error=told)
        raise JobError(told) from error
    threading.Thread(
        target=_see_it_end, args=(workspace, job.id, process), name="job-watch", daemon=True
    ).start()
    return job


def retry_job(
    engine: Engine, workspace: Workspace, job_id: int, *, program: Sequence[str] = PROGRAM
) -> Job:
    """Start a job that has ended once more, with the same options; it goes on from what is saved.

    Raises:
        JobError: If it has not ended, or the project has another active one.
        NotFoundError: If there is no such job.
        ConfigurationError: If it would run a file of the person's own that has changed since.
    """
    fail_dead_jobs(engine)
    job = get_job(engine, job_id)
    if job.state in ACTIVE:
        raise JobError(
            f"Job {job.id} is {job.state}. Expected one that has ended. Wait for it, or cancel it."
        )
    require_consent(job.options.get("model", ""), agreed=read_consent(job.options))
    return start_job(engine, workspace, job.project_slug, job.kind, job.options, program=program)


def queue_job(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    kind: str,
    options: Mapping[str, Any],
    *,
    log: str = "",
) -> Job:
    """Enter a job for a project that has no active one.

    Raises:
        JobError: If it has; the message says who works on it.
        NotFoundError: If the kind needs a project and there is none.
        InputError: If the name can be no project's.
    """
    check_slug(slug)
    if find_task(kind).needs_project:
        get_project(engine, slug)
    fail_dead_jobs(engine)
    try:
        job = create_job(engine, slug, kind, options=dict(options), log=log)
    except JobError as error:
        active = active_job(engine, slug)
        raise (error if active is None else JobError(_tell_busy(active))) from error
    clear_leftovers(engine, workspace, slug)
    return job


def _tell_busy(job: Job) -> str:
    if job.state == "queued":
        who = f"queued since {job.created_at:%Y-%m-%d %H:%M} UTC"
    else:
        since = job.started_at or job.created_at
        who = (
            f"at {job.progress:.0%}, by process {job.pid} on {job.hostname} since "
            f"{since:%Y-%m-%d %H:%M} UTC"
        )
    return (
        f"The project {job.project_slug} is busy: job {job.id} ({job.kind}), {who}. Expected no "
        f"active job. Wait for it, or cancel it: {find_program_name()} jobs --cancel {job.id}."
    )


def _spawn(workspace: Workspace, job: Job, program: Sequence[str]) -> subprocess.Popen[bytes]:
    path = log_path(workspace, job)
    if path is None:
        raise FileNotFoundError(f"no log at {job.log}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The URL may hold a password, and everybody can read the arguments of a process.
    environment = {
        WORKSPACE_VARIABLE: str(workspace.root),
        DATABASE_VARIABLE: _as_seen_from_anywhere(workspace.database_url),
        "PYTHONUNBUFFERED": "1",
    }
    with path.open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own program
            [*program, "work", str(job.id)],
            cwd=REPOSITORY_ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _as_seen_from_anywhere(database_url: str) -> str:
    """Return the URL with the whole path of a SQLite file: the process works in another folder."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return database_url
    return url.set(database=str(Path(url.database).absolute())).render_as_string()


def _see_it_end(workspace: Workspace, job_id: int, process: subprocess.Popen[bytes]) -> None:
    """Wait for the process, so that it leaves no zombie, and close its books if it could not."""
    if process.wait() == 0:
        return
    try:
        engine = open_database(workspace.database_url)
    except TracInError:
        return  # whoever looks at the jobs next finds it dead
    try:
        fail_dead_jobs(engine)
        job = get_job(engine, job_id)
        if job.state == "queued":
            last = " ".join(read_log(workspace, job, tail=3))
            told = (
                f"Its process ended before it began: {last or 'it said nothing'}. Start it again."
            )
            finish_job(engine, job_id, "failed", error=told)
    except TracInError:
        return
    finally:
        engine.dispose()


def run_job_inline(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    kind: str,
    options: Mapping[str, Any] | None = None,
    *,
    show: OnProgress = ignore_progress,
    work: TaskFunction | None = None,
) -> Job:
    """Execute a job in this process, from the main thread.

    Pages and other terminals see it while it runs, may cancel it, and cannot start another one
    for the project.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        kind: As for ``start_job``.
        options: What the kind needs, plain JSON.
        show: Told about every step.
        work: Does it instead of the kind's own work, for instance with what was read already.

    Returns:
        The job, which has succeeded; ``result`` says what it made.

    Raises:
        JobError: If the project has an active job, or this one was cancelled from elsewhere.
        TracInError: What stopped the work.
        KeyboardInterrupt: After Ctrl-C; the job is cancelled then.
    """
    job = claim_job(engine, queue_job(engine, workspace, slug, kind, options or {}).id)
    return execute_job(engine, workspace, job, show, work)


def cancel_job(engine: Engine, job_id: int) -> Job:
    """Request that a job stops; end one without a sign of life, and close its books.

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
