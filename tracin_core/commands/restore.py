"""``restore``: bring a project back from a backup."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "restore"
SUMMARY = "Bring a project back from a backup, with every decision in its order."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the file and the name."""
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="what `backup` wrote")
    parser.add_argument("--name", metavar="NEW", help="another name for the project than it had")


def run(options: argparse.Namespace) -> int:
    """Restore it whole or not at all."""
    from tracin_core.commands.opening import open_workspace
    from tracin_core.commands.progress_display import show_progress
    from tracin_core.files import expand_path
    from tracin_core.housekeeping.restoring import read_manifest
    from tracin_core.jobs.inline import do_job
    from tracin_core.work.memory import memory_bounded

    path: Path = expand_path(options.file).resolve()
    with memory_bounded(f"The backup {path}"):
        slug = options.name or read_manifest(path).slug
    opened = open_workspace(options)
    with show_progress(slug) as report:
        do_job(opened.engine, opened.workspace, slug, NAME, {"path": str(path)}, show=report)
    print(f"Restored {slug} in {opened.workspace.project_folder(slug)}")
    return 0
