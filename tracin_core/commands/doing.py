"""Long work from the terminal: here with a bar, or in the background with a log."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracin_core.commands.opening import OpenedProject, OpenedWorkspace
    from tracin_core.reviews.jobs import Job
    from tracin_core.reviews.projects import Run


def add_background_option(parser: argparse.ArgumentParser) -> None:
    """Declare where the work is done."""
    parser.add_argument(
        "--background",
        action="store_true",
        help="start it in a process of its own and return at once; see `jobs`",
    )


def do_or_start(
    options: argparse.Namespace,
    opened: OpenedWorkspace,
    slug: str,
    kind: str,
    job_options: dict[str, Any],
) -> Job | None:
    """Do a job here, with its progress on stderr; or start it, say so, and return None."""
    if options.background:
        from tracin_core.jobs.launching import start_job

        job = start_job(opened.engine, opened.workspace, slug, kind, job_options)
        print(
            f"{slug}: job {job.id} ({kind}) is started. See it: python -m tracin_core jobs; its "
            f"log: python -m tracin_core jobs --log {job.id}"
        )
        return None
    from tracin_core.commands.progress_display import show_progress
    from tracin_core.jobs.inline import do_job

    with show_progress(slug) as report:
        return do_job(opened.engine, opened.workspace, slug, kind, job_options, show=report)


def tell_weakness(warning: str) -> None:
    """Print what is wrong with a model to stderr: what reads the answer must not stumble on it."""
    print(f"Warning: {warning}", file=sys.stderr)


def tell_model(opened: OpenedProject, run: Run) -> None:
    """Print what is wrong with the model of a run, if anything is."""
    from tracin_core.triage.model_quality import judge_run

    for warning in judge_run(opened.engine, opened.project, run).warnings:
        tell_weakness(warning)


def tell_run(job: Job) -> None:
    """Print which run a finished job has made, and what to look at next."""
    slug, seconds = job.project_slug, 0.0
    if job.started_at is not None and job.finished_at is not None:
        seconds = (job.finished_at - job.started_at).total_seconds()
    made = " and ".join(
        f"{what} {job.result[what]}" for what in ("training", "run") if what in job.result
    )
    print(f"{slug}: {made} in {seconds:.1f} s")
    if job.result.get("last_layer"):
        print(f"{slug}: ranked by the last layer: {', '.join(job.result['last_layer'])}")
    if job.result.get("course"):
        print(f"Trained {job.result['course']}")
    for warning in job.result.get("warnings") or ():
        tell_weakness(warning)
    if sys.stdout.isatty() and "run" in job.result:
        print(f"See the suspects: python -m tracin_core queue {slug}")
