"""``projects``: what is in the workspace."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracin_core.commands.opening import OpenedWorkspace
    from tracin_core.reviews.projects import Project

NAME = "projects"
SUMMARY = "List the projects: kind, examples, how much is reviewed, disk use."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare which projects, and the form of the answer."""
    parser.add_argument("--archived", action="store_true", help="those that were put away instead")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    """Print one row a project."""
    from tracin_core.commands.opening import open_workspace
    from tracin_core.reviews.projects import list_projects

    opened = open_workspace(options, "look")
    projects = list_projects(opened.engine, archived=options.archived)
    rows = [describe_project(opened, project) for project in projects]
    if options.format == "json":
        print(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows)
    else:
        what = "No project is archived." if options.archived else "No projects yet."
        print(f"{what} Make one with `import`, or the demos with `demo`.")
    return 0


def describe_project(opened: OpenedWorkspace, project: Project) -> dict[str, Any]:
    """Return what is told about a project."""
    from tracin_core.housekeeping.disk import measure_disk_use
    from tracin_core.reviews.grow import next_positions
    from tracin_core.reviews.jobs import active_job
    from tracin_core.reviews.progress import review_progress
    from tracin_core.reviews.projects import current_run

    progress = review_progress(opened.engine, project.id)
    undecided = progress.total - progress.reviewed
    active = active_job(opened.engine, project.slug)
    run = current_run(opened.engine, project.id)
    return {
        "name": project.slug,
        "title": project.title,
        "kind": project.kind,
        "task": project.task,
        "classes": len(project.classes),
        "examples": dict(next_positions(opened.engine, project.id)),
        "reviewed": progress.total - undecided,
        "decisions": progress.decisions,
        "run": None if run is None else run.key,
        "job": None if active is None else {"id": active.id, "kind": active.kind},
        "bytes": measure_disk_use(opened.workspace, project.slug).total,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tracin_core.commands.queue import excerpt
    from tracin_core.commands.tables import print_table
    from tracin_core.housekeeping.disk import describe_bytes

    table = Table()
    for name in ("name", "title", "kind", "task", "train", "test", "reviewed", "disk", "state"):
        numeric = name in ("train", "test", "reviewed", "disk")
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        busy = row["job"] and f"{row['job']['kind']} is running"
        cells = (
            row["name"],
            excerpt(row["title"], 40),
            row["kind"],
            row["task"],
            f"{row['examples']['train']:,}",
            f"{row['examples']['test']:,}",
            f"{row['reviewed']:,}",
            describe_bytes(row["bytes"]),
            busy or ("scored" if row["run"] else "not scored"),
        )
        table.add_row(*map(Text, cells))
    print_table(table)
