"""``work``: the process of a job that was started elsewhere; not for people, so not in the help."""

from __future__ import annotations

import argparse

from tracin_core.commands.numbers import row_id

NAME = "work"
SUMMARY = "Do a queued job in this process."
HIDDEN = True  # it is for start_job, not for people


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which job."""
    parser.add_argument("job", type=row_id, metavar="ID", help="a queued job")


def run(options: argparse.Namespace) -> int:
    """Do the job; its outcome is in the job table, and the exit code says the same."""
    from tracin_core.commands.opening import choose_workspace
    from tracin_core.jobs.worker import work

    return work(choose_workspace(options), options.job)
