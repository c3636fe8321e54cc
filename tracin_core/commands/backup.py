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
    from tracin_core.housekeeping.backup import backup_project
    from tracin_core.housekeeping.disk import describe_bytes
    from tracin_core.jobs.inline import do_job
    from tracin_core.reviews.database import is_read_only

    opened = open_project(options, "look")
    path: Path = expand_path(options.output).resolve()
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise WorkspaceError(f"{path} {what}. Name a file in an existing folder after -o.")
    place = (opened.engine, opened.workspace, options.project)
    job_options = {"path": str(path), "with_trainings": options.with_trainings}
    with show_progress(options.project) as report:
        if is_read_only(opened.engine):
            # Nobody can work on the project, so there is nobody to be kept away by a job.
            trainings: bool = options.with_trainings
            backup_project(*place, path, with_trainings=trainings, on_progress=report)
        else:
            do_job(*place, NAME, job_options, show=report)
    print(f"Wrote {path} ({describe_bytes(path.stat().st_size)}).")
    return 0
