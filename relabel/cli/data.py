"""Data in and out: the demo projects, and the corrected labels as a file."""

from __future__ import annotations

from pathlib import Path

import click

from relabel.cli.context import open_project
from relabel.cli.display import show_progress
from relabel.cli.parameters import Location, command, project_argument, seed, share
from relabel.cli.queue import open_suggestions
from relabel.db.runs import current_run
from relabel.demos.build import build_demo
from relabel.errors import WorkspaceError
from relabel.export import export_labels
from relabel.exporters.registry import EXPORTERS, find_exporter
from tracin_core.files import expand_path

_DEMOS = ("digits", "docs")


@command
@click.argument(
    "name", type=click.Choice((*_DEMOS, "all")), default="all", help="which one (default: all)"
)
@click.option(
    "--seed",
    type=seed,
    default=0,
    metavar="SEED",
    show_default=True,
    help="chooses the planted errors",
)
@click.option(
    "--noise",
    type=share,
    default=0.1,
    metavar="SHARE",
    show_default=True,
    help="share of train labels made wrong, 0 to 1",
)
def demo(location: Location, name: str, seed: int, noise: float) -> int:
    """Build what is missing and say where it is."""
    workspace = location.resolve()
    for one in _DEMOS if name == "all" else (name,):
        with show_progress(one) as report:
            built = build_demo(one, workspace, seed=seed, noise=noise, on_progress=report)
        what = f"built in {built.seconds:.1f} s" if built.built else "already there"
        print(f"{one}: {what}, run {built.run_key} in {workspace.project_folder(one)}")
    return 0


@command
@project_argument
@click.option(
    "--format", type=click.Choice(list(EXPORTERS)), help="default: by the file's ending, else csv"
)
@click.option("-o", "--output", type=Path, required=True, metavar="PATH")
@click.option("--reviewed-only", is_flag=True, help="leave out what nobody has decided on")
def export(
    location: Location, project: str, format: str | None, output: Path, reviewed_only: bool
) -> int:
    """Write the file whole or not at all, and say how many labels it holds."""
    opened = open_project(location, project, "look")
    path = expand_path(output)
    require_writable(path)
    run = current_run(opened.engine, opened.project.id)
    export_labels(
        opened.engine,
        opened.project.id,
        format=format or find_exporter(path.suffix.removeprefix(".")).name,
        path=path,
        reviewed_only=reviewed_only,
        held_out=None if run is None else open_suggestions(opened, run),
    )
    print(f"Wrote {path} ({path.stat().st_size:,} bytes).")
    return 0


def require_writable(path: Path) -> None:
    """Check that a file can be written at a path.

    Raises:
        WorkspaceError: If it is a folder, or lies in one that does not exist.
    """
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise WorkspaceError(f"{path} {what}. Name a file in an existing folder after -o.")
