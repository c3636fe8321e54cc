"""``decisions``: what was decided elsewhere comes back from a file."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from relabel.cli.context import open_project
from relabel.cli.display import show_progress
from relabel.cli.parameters import Location, command, project_argument
from relabel.returned.plan import plan_decisions, record_decisions
from relabel.returned.read import read_decisions
from relabel.text import printable


@command
@project_argument
@click.argument("file", type=Path, metavar="FILE", help="an export with decisions")
@click.option("--preview", is_flag=True, help="say what would become of them, and record nothing")
@click.option(
    "--over", is_flag=True, help="lay them on top of what was decided otherwise here meanwhile"
)
@click.option("--reviewer", metavar="NAME", help="for rows that state none (default: your account)")
def decisions(
    location: Location,
    project: str,
    file: Path,
    preview: bool,
    over: bool,
    reviewer: str | None,
) -> int:
    """Say what becomes of each decision, and record those that are new."""
    opened = open_project(location, project, "look" if preview else "work")
    plan = plan_decisions(
        opened.engine,
        opened.project,
        read_decisions(file),
        reviewer=reviewer or account_name(),
        over=over,
    )
    report = plan.report
    if not preview and plan.new:
        with show_progress(opened.project.slug) as progress:
            report = record_decisions(opened.engine, plan, on_progress=progress)
    for line in report.describe():
        print(printable(line))
    return 0


def account_name() -> str:
    """Return the name of the account, by which the terminal's doings are recorded."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # as in some containers
        return "reviewer"
