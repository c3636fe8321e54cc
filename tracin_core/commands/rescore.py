"""``rescore``: bring the scores up to the labels that are in force after the decisions."""

from __future__ import annotations

import argparse

from tracin_core.commands.doing import add_background_option

NAME = "rescore"
SUMMARY = "Bring a project's scores up to its corrected labels; only what changed is computed."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the project."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument(
        "--run-my-code", action="store_true", help="agree to run the file of your own network again"
    )
    add_background_option(parser)


def run(options: argparse.Namespace) -> int:
    """Do it, or start it, and say what came of it."""
    from tracin_core.commands.doing import do_or_start, tell_run
    from tracin_core.commands.opening import open_project
    from tracin_core.commands.work_options import agree_to_saved
    from tracin_core.numerals import counted
    from tracin_core.scoring.estimating import estimate_full_rescoring, explain_full_rescoring

    opened = open_project(options)
    opened.current_run()
    anew = estimate_full_rescoring(opened.engine, opened.project.slug)
    if anew is not None:
        print(explain_full_rescoring(anew))
    agreed = agree_to_saved(opened, options.run_my_code, of_run=True)
    job = do_or_start(options, opened, options.project, NAME, {"run_my_code": agreed})
    if job is not None:
        tell_run(job)
        computed = job.result["examples_computed"]
        print(f"{counted(computed, 'example')} {'was' if computed == 1 else 'were'} computed.")
    return 0
