"""``backup``: write a project into one file."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "backup"
SUMMARY = "Write a project into one file: examples, decisions, runs, truth."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what to write and where."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.zip")
    parser.add_argument(
        "--with-trainings",
        action="store_true",
        help="with all that a training needs to go on; runs have their checkpoints anyway",
    )


def run(options: argparse.Namespace) -> int:
    """Write the file whole or not at all, and say how large it is."""
    from tracin_core.commands.opening import open_project
    from tracin_core.commands.progress_display import show_progress
    from tracin_core.errors import WorkspaceError
    from tracin_core.files import expand_path
    from tracin_core.housekeeping.disk import describe_bytes
    from tracin_core.jobs.inline import do_job

    opened = open_project(options)
    path: Path = expand_path(options.output).resolve()
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise WorkspaceError(f"{path} {what}. Name a file in an existing folder after -o.")
    job_options = {"path": str(path), "with_trainings": options.with_trainings}
    with show_progress(options.project) as report:
        do_job(opened.engine, opened.workspace, options.project, NAME, job_options, show=report)
    print(f"Wrote {path} ({describe_bytes(path.stat().st_size)}).")
    return 0
