"""Commands on projects: list, rename, archive, delete, back up, restore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import OpenedWorkspace, open_project, open_workspace
from relabel.cli.data import require_writable
from relabel.cli.display import ask, print_table, show_progress
from relabel.cli.parameters import Location, command, format_option, project_argument
from relabel.db.bulk import next_positions
from relabel.db.engine import is_read_only
from relabel.db.jobs import active_job
from relabel.db.project_rules import Project
from relabel.db.projects import archive_project, list_projects, rename_project, unarchive_project
from relabel.db.runs import current_run
from relabel.db.stats import review_progress
from relabel.errors import NotFoundError
from relabel.jobs.launch import run_job_inline
from relabel.projects.backup import backup_project
from relabel.projects.delete import finish_removal, measure_disk_use, remove_project
from relabel.projects.restore import read_manifest
from relabel.sandbox import limit_memory
from relabel.text import counted, excerpt, format_bytes
from tracin_core.errors import ConfigurationError
from tracin_core.files import expand_path


@command
@click.option("--archived", is_flag=True, help="those that were put away instead")
@format_option
def projects(location: Location, archived: bool, format: str) -> int:
    """Print one row a project."""
    opened = open_workspace(location, "look")
    found = list_projects(opened.engine, archived=archived)
    rows = [describe_project(opened, project) for project in found]
    if format == "json":
        print(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows)
    else:
        what = "No project is archived." if archived else "No projects yet."
        print(f"{what} Make one with `import`, or the demos with `demo`.")
    return 0


@command
@project_argument
@click.argument("title", metavar="[TITLE]", required=False, help="its title from now on")
@click.option("--description", metavar="TEXT")
def rename(location: Location, project: str, title: str | None, description: str | None) -> int:
    """Change it and say what it is called now."""
    if title is None and description is None:
        raise ConfigurationError(
            'Found no new text. Expected a title: rename NAME "New title", or --description TEXT.'
        )
    opened = open_project(location, project)
    renamed = rename_project(opened.engine, opened.project.id, title=title, description=description)
    print(f"{renamed.slug}: {excerpt(renamed.title, 200)}")
    return 0


@command
@project_argument
@click.option("--undo", is_flag=True, help="take it out again")
def archive(location: Location, project: str, undo: bool) -> int:
    """Archive or unarchive, and print where the project is listed now."""
    opened = open_project(location, project)
    if undo:
        unarchive_project(opened.engine, opened.project.id)
        print(f"{opened.project.slug} is in use again.")
    else:
        archive_project(opened.engine, opened.project.id)
        print(f"{opened.project.slug} is put away; see it with `projects --archived`.")
    return 0


@command
@project_argument
@click.option("--yes", is_flag=True, help="do not ask for the name again")
def delete(location: Location, project: str, yes: bool) -> int:
    """Delete the project after a question."""
    try:
        opened = open_project(location, project, "delete")
    except NotFoundError:
        left = open_workspace(location, "delete")
        if not finish_removal(left.engine, left.workspace, project):
            raise
        print(f"Finished a deletion of {project} that had been cut off.")
        return 0
    slug = opened.project.slug
    decisions = review_progress(opened.engine, opened.project.id).decisions
    size = format_bytes(measure_disk_use(opened.workspace, slug).total)
    if not yes:
        question = (
            f"This deletes {slug} with {counted(decisions, 'decision')} and {size} of files. "
            f"Type its name to go on: "
        )
        if ask(question, "--yes").strip() != slug:
            raise ConfigurationError(f"That is not the name; {slug} was not deleted.")
    remove_project(opened.engine, opened.workspace, slug)
    print(f"Deleted {slug}: {counted(decisions, 'decision')}, {size} of files.")
    return 0


@command
@project_argument
@click.option("-o", "--output", type=Path, required=True, metavar="FILE.zip")
@click.option(
    "--with-trainings",
    is_flag=True,
    help="with all that a training needs to go on; runs have their checkpoints anyway",
)
def backup(location: Location, project: str, output: Path, with_trainings: bool) -> int:
    """Write the file whole or not at all, and say how large it is."""
    opened = open_project(location, project, "look")
    path = expand_path(output).resolve()
    require_writable(path)
    place = (opened.engine, opened.workspace, project)
    job_options = {"path": str(path), "with_trainings": with_trainings}
    with show_progress(project) as report:
        if is_read_only(opened.engine):
            # Nobody can work on the project, so there is nobody to be kept away by a job.
            backup_project(*place, path, with_trainings=with_trainings, on_progress=report)
        else:
            run_job_inline(*place, "backup", job_options, show=report)
    print(f"Wrote {path} ({format_bytes(path.stat().st_size)}).")
    return 0


@command
@click.argument("file", type=Path, metavar="FILE.zip", help="what `backup` wrote")
@click.option("--name", metavar="NEW", help="another name for the project than it had")
def restore(location: Location, file: Path, name: str | None) -> int:
    """Restore it whole or not at all."""
    path = expand_path(file).resolve()
    with limit_memory(f"The backup {path}"):
        slug = name or read_manifest(path).slug
    opened = open_workspace(location)
    with show_progress(slug) as report:
        run_job_inline(
            opened.engine, opened.workspace, slug, "restore", {"path": str(path)}, show=report
        )
    print(f"Restored {slug} in {opened.workspace.project_folder(slug)}")
    return 0


def describe_project(opened: OpenedWorkspace, project: Project) -> dict[str, Any]:
    """Return what is told about a project."""
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
            format_bytes(row["bytes"]),
            busy or ("scored" if row["run"] else "not scored"),
        )
        table.add_row(*map(Text, cells))
    print_table(table)
