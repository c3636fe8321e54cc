"""``score``: score a project's examples with its newest training, or with checkpoints of yours."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracin_core.commands.doing import add_background_option
from tracin_core.commands.numbers import whole
from tracin_core.commands.work_options import (
    MOST_EPOCHS,
    add_model_options,
    add_scoring_options,
    positive,
)

NAME = "score"
SUMMARY = "Score a project with its newest training, or with checkpoints of your own training."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the checkpoints."""
    parser.add_argument("project", metavar="NAME", help="project")
    add_model_options(parser)
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="folder with checkpoints of your own training (Lightning, transformers, PyTorch)",
    )
    parser.add_argument(
        "--learning-rate-of-checkpoints",
        type=positive,
        metavar="RATE",
        help="where the files do not say it",
    )
    parser.add_argument(
        "--num-checkpoints",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="with --checkpoints, how many of them to use at most (default: 8)",
    )
    add_scoring_options(parser)
    add_background_option(parser)


def run(options: argparse.Namespace) -> int:
    """Do it, or start it, and say what came of it."""
    from tracin_core.commands.doing import do_or_start, tell_run
    from tracin_core.commands.opening import open_project
    from tracin_core.commands.work_options import agree_to_saved, collect_work_options

    opened = open_project(options)
    job_options = collect_work_options(options)
    if options.model is None and options.checkpoints is None:
        agreed = agree_to_saved(opened, options.run_my_code, of_run=False)
        job_options |= {"run_my_code": agreed}
    job = do_or_start(options, opened, options.project, NAME, job_options)
    if job is not None:
        tell_run(job)
    return 0
