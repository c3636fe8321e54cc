"""``jobs``: what is running, what has run; cancel, retry, logs."""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tracin_core.commands.numbers import row_id, whole

if TYPE_CHECKING:
    from tracin_core.commands.opening import OpenedWorkspace
    from tracin_core.reviews.jobs import Job

NAME = "jobs"
MOST_LISTED = 100_000
SUMMARY = "Show running and past jobs; cancel or retry one, or read its log."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare whose jobs, or what to do with one."""
    parser.add_argument("project", metavar="NAME", nargs="?", help="project (default: all)")
    parser.add_argument(
        "--limit", type=whole(1, MOST_LISTED), default=20, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument(
        "--cancel", type=row_id, metavar="ID", help="stop a job; it can be retried"
    )
    actions.add_argument("--retry", type=row_id, metavar="ID", help="start an ended job again")
    actions.add_argument("--log", type=row_id, metavar="ID", help="print the end of a job's log")
    actions.add_argument("--wait", type=row_id, metavar="ID", help="wait until a job has ended")


def run(options: argparse.Namespace) -> int:
    """Do what was asked; without an action, print the table."""
    from tracin_core.commands.opening import open_workspace

    changes = options.cancel is not None or options.retry is not None
    opened = open_workspace(options, "work" if changes else "look")
    if options.cancel is not None:
        return _cancel(opened, options.cancel)
    if options.retry is not None:
        return _retry(opened, options.retry)
    if options.log is not None:
        return _print_log(opened, options.log)
    if options.wait is not None:
        return _wait(opened, options.wait)
    return _list(opened, options)


def _list(opened: OpenedWorkspace, options: argparse.Namespace) -> int:
    from tracin_core.reviews.jobs import fail_dead_jobs, list_jobs

    fail_dead_jobs(opened.engine)
    jobs = list_jobs(opened.engine, options.project, limit=options.limit)
    if options.format == "json":
        print(json.dumps([describe_job(job) for job in jobs], indent=2))
    elif not jobs:
        print("No jobs yet. Start one with train, score, rescore or import.")
    else:
        _print_table(jobs)
    return 0


def _cancel(opened: OpenedWorkspace, job_id: int) -> int:
    from tracin_core.jobs.cancelling import cancel_job

    job = cancel_job(opened.engine, job_id)
    said = "is cancelled" if job.state == "cancelled" else "is told to stop"
    print(f"Job {job.id} ({job.kind} {job.project_slug}) {said}; what was finished is kept.")
    return 0


def _retry(opened: OpenedWorkspace, job_id: int) -> int:
    from tracin_core.jobs.launching import retry_job

    job = retry_job(opened.engine, opened.workspace, job_id)
    print(f"Job {job.id} ({job.kind} {job.project_slug}) is started; it goes on from what is kept.")
    return 0


def _print_log(opened: OpenedWorkspace, job_id: int) -> int:
    from tracin_core.commands.tables import printable
    from tracin_core.reviews.jobs import get_job
    from tracin_core.work.logs import log_path, read_log

    job = get_job(opened.engine, job_id)
    if log_path(opened.workspace, job) is None:
        print(f"Job {job.id} has no log: its work was told in the terminal that it ran in.")
        return 0
    print(printable("\n".join(read_log(opened.workspace, job))))
    return 0


def _wait(opened: OpenedWorkspace, job_id: int) -> int:
    """Wait for a job; 0 if it has succeeded, else 1."""
    from tracin_core.commands.tables import printable
    from tracin_core.reviews.jobs import ACTIVE, fail_dead_jobs, get_job

    while (job := get_job(opened.engine, job_id)).state in ACTIVE:
        time.sleep(0.5)
        fail_dead_jobs(opened.engine)
    said = "was" if job.state == "cancelled" else "has"
    work = f"Job {job.id} ({job.kind} {job.project_slug})"
    print(f"{work} {said} {job.state}. {printable(job.error)}".rstrip())
    return 0 if job.state == "succeeded" else 1


def describe_job(job: Job) -> dict[str, Any]:
    """Return a job as JSON holds it."""
    from dataclasses import asdict

    from tracin_core.reviews.dead_jobs import describe_silence

    told = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(job).items()
    }
    return told | {"silence": describe_silence(job)}


def describe_seconds(seconds: float) -> str:
    """Return a duration as people say it: "45 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _print_table(jobs: list[Job]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tracin_core.commands.queue import excerpt
    from tracin_core.commands.tables import print_table
    from tracin_core.reviews.dead_jobs import describe_silence

    table = Table(title=Text("Jobs, newest first"), title_justify="left")
    for name in ("id", "project", "kind", "state", "progress", "time", "what"):
        table.add_column(name, justify="right" if name in ("id", "progress", "time") else "left")
    for job in jobs:
        cells = (
            str(job.id),
            job.project_slug,
            job.kind,
            "cancelling" if job.state == "running" and job.cancel_requested else job.state,
            f"{job.progress:.0%}",
            _tell_time(job),
            excerpt(job.error or describe_silence(job) or job.message, 300),
        )
        table.add_row(*map(Text, cells))
    print_table(table)


def _tell_time(job: Job) -> str:
    """Return how long a job took, or will still take."""
    if job.started_at is not None and job.finished_at is not None:
        return describe_seconds((job.finished_at - job.started_at).total_seconds())
    if job.state == "running" and job.seconds_left is not None:
        return f"{describe_seconds(job.seconds_left)} left"
    return ""
