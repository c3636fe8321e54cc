"""``demo``: build, train and score the demo projects."""

from __future__ import annotations

import argparse

from tracin_core.commands.numbers import seed, share

NAME = "demo"
SUMMARY = "Build, train and score the demo projects; goes on where it was stopped."
_DEMOS = ("digits", "docs")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which demo, and which planted errors."""
    parser.add_argument(
        "name",
        nargs="?",
        default="all",
        choices=(*_DEMOS, "all"),
        metavar="{digits,docs,all}",
        help="which one (default: all)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="chooses the planted errors (default: %(default)s)"
    )
    parser.add_argument(
        "--noise",
        type=share,
        default=0.1,
        metavar="SHARE",
        help="share of train labels made wrong, 0 to 1 (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Build what is missing and say where it is."""
    from tracin_core.commands.opening import choose_workspace
    from tracin_core.commands.progress_display import show_progress
    from tracin_core.jobs.demo import build_demo

    workspace = choose_workspace(options)
    for name in _DEMOS if options.name == "all" else (options.name,):
        with show_progress(name) as report:
            built = build_demo(
                name, workspace, seed=options.seed, noise=options.noise, on_progress=report
            )
        what = f"built in {built.seconds:.1f} s" if built.built else "already there"
        print(f"{name}: {what}, run {built.run_key} in {workspace.project_folder(name)}")
    return 0
