"""``train``: train a network on a project's data, then score it."""

from __future__ import annotations

import argparse

from tracin_core.commands.doing import add_background_option
from tracin_core.commands.work_options import (
    add_model_options,
    add_scoring_options,
    add_training_options,
)

NAME = "train"
SUMMARY = "Train a network on a project and score its examples; goes on where it was stopped."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the network, its training, and what follows."""
    parser.add_argument("project", metavar="NAME", help="project")
    add_model_options(parser)
    add_training_options(parser)
    add_scoring_options(parser)
    parser.add_argument("--no-score", action="store_true", help="only train")
    add_background_option(parser)


def run(options: argparse.Namespace) -> int:
    """Do it, or start it, and say what came of it."""
    from tracin_core.commands.doing import do_or_start, tell_run
    from tracin_core.commands.opening import open_project
    from tracin_core.commands.work_options import collect_work_options

    opened = open_project(options)
    job_options = collect_work_options(options) | {"then_score": not options.no_score}
    job = do_or_start(options, opened, options.project, NAME, job_options)
    if job is not None:
        tell_run(job)
    return 0
