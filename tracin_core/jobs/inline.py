"""Work that a terminal's command does itself, entered in the job table like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.jobs.carrying_out import carry_out
from tracin_core.jobs.kinds import Work
from tracin_core.jobs.launching import queue_job
from tracin_core.reviews.jobs import Job, claim_job
from tracin_core.work.progress import OnProgress, ignore_progress


def do_job(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    kind: str,
    options: Mapping[str, Any] | None = None,
    *,
    show: OnProgress = ignore_progress,
    work: Work | None = None,
) -> Job:
    """Do a job in this process, from the main thread.

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
    return carry_out(engine, workspace, job, show, work)
