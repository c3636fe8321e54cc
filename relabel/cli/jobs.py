"""Commands on jobs: list, cancel, retry, show logs; and the worker's own command."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import OpenedWorkspace, open_workspace
from relabel.cli.display import print_table
from relabel.cli.parameters import Location, command, format_option, row_id, whole
from relabel.db.jobs import ACTIVE, Job, describe_silence, fail_dead_jobs, get_job, list_jobs
from relabel.jobs.execute import run_worker
from relabel.jobs.launch import cancel_job, retry_job
from relabel.logs import log_path, read_log
from relabel.text import excerpt, format_seconds, printable

MOST_LISTED = 100_000


@command
@click.argument("project", metavar="[NAME]", required=False, help="project (default: all)")
@click.option(
    "--limit",
    type=whole(1, MOST_LISTED),
    default=20,
    metavar="N",
    show_default=True,
    help="jobs to list",
)
@format_option
@click.option("--cancel", type=row_id, metavar="ID", help="stop a job; it can be retried")
@click.option("--retry", type=row_id, metavar="ID", help="start an ended job again")
@click.option("--log", type=row_id, metavar="ID", help="print the end of a job's log")
@click.option("--wait", type=row_id, metavar="ID", help="wait until a job has ended")
def jobs(
    location: Location, project: str | None, limit: int, format: str, **actions: int | None
) -> int:
    """Carry out the action; without one, print the table."""
    asked = {name: job_id for name, job_id in actions.items() if job_id is not None}
    if len(asked) > 1:
        first, second = list(asked)[:2]
        raise click.UsageError(f"--{second} cannot be given together with --{first}")
    opened = open_workspace(location, "work" if asked.keys() & {"cancel", "retry"} else "look")
    doing = {"cancel": _cancel, "retry": _retry, "log": _print_log, "wait": _wait}
    for name, job_id in asked.items():
        return doing[name](opened, job_id)
    return _list(opened, project, limit, format)


@command
@click.argument("job", type=row_id, metavar="ID", help="a queued job")
def work(location: Location, job: int) -> int:
    """Execute the job; its outcome is in the job table, and the exit code says the same."""
    return run_worker(location.resolve(), job)


def _list(opened: OpenedWorkspace, project: str | None, limit: int, format: str) -> int:
    fail_dead_jobs(opened.engine)
    found = list_jobs(opened.engine, project, limit=limit)
    if format == "json":
        print(json.dumps([describe_job(job) for job in found], indent=2))
    elif not found:
        print("No jobs yet. Start one with train, score, rescore or import.")
    else:
        _print_table(found)
    return 0


def _cancel(opened: OpenedWorkspace, job_id: int) -> int:
    job = cancel_job(opened.engine, job_id)
    said = "is cancelled" if job.state == "cancelled" else "is told to stop"
    print(f"Job {job.id} ({job.kind} {job.project_slug}) {said}; what was finished is kept.")
    return 0


def _retry(opened: OpenedWorkspace, job_id: int) -> int:
    job = retry_job(opened.engine, opened.workspace, job_id)
    print(f"Job {job.id} ({job.kind} {job.project_slug}) is started; it goes on from what is kept.")
    return 0


def _print_log(opened: OpenedWorkspace, job_id: int) -> int:
    job = get_job(opened.engine, job_id)
    if log_path(opened.workspace, job) is None:
        print(f"Job {job.id} has no log: its work was told in the terminal that it ran in.")
        return 0
    print(printable("\n".join(read_log(opened.workspace, job))))
    return 0


def _wait(opened: OpenedWorkspace, job_id: int) -> int:
    """Wait for a job; 0 if it has succeeded, else 1."""
    while (job := get_job(opened.engine, job_id)).state in ACTIVE:
        time.sleep(0.5)
        fail_dead_jobs(opened.engine)
    said = "was" if job.state == "cancelled" else "has"
    work = f"Job {job.id} ({job.kind} {job.project_slug})"
    print(f"{work} {said} {job.state}. {printable(job.error)}".rstrip())
    return 0 if job.state == "succeeded" else 1


def describe_job(job: Job) -> dict[str, Any]:
    """Return a job as JSON holds it."""
    told = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(job).items()
    }
    return told | {"silence": describe_silence(job)}


def _print_table(found: list[Job]) -> None:
    table = Table(title=Text("Jobs, newest first"), title_justify="left")
    for name in ("id", "project", "kind", "state", "progress", "time", "what"):
        table.add_column(name, justify="right" if name in ("id", "progress", "time") else "left")
    for job in found:
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
        return format_seconds((job.finished_at - job.started_at).total_seconds())
    if job.state == "running" and job.seconds_left is not None:
        return f"{format_seconds(job.seconds_left)} left"
    return ""
