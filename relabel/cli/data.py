"""Data in and out: the demo projects, and the corrected labels as a file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from relabel.cli.context import open_project
from relabel.cli.display import show_progress
from relabel.cli.parameters import Location, command, project_argument, seed, share, whole
from relabel.cli.queue import open_suggestions
from relabel.db.runs import current_run
from relabel.demos.build import build_demo
from relabel.errors import WorkspaceError
from relabel.export import export_labels
from relabel.export.counts import count_exported
from relabel.export.history import export_history
from relabel.export.labels import EXCLUDED_CHOICES
from relabel.exporters.exported import OwnFile
from relabel.exporters.own.source import name_ending
from relabel.exporters.registry import EXPORTERS, find_exporter
from relabel.text import printable
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
@click.option(
    "-o",
    "--output",
    type=Path,
    metavar="PATH",
    help="default: a name that says what is in it, in this folder",
)
@click.option("--reviewed-only", is_flag=True, help="leave out what nobody has decided on")
@click.option(
    "--excluded",
    type=click.Choice(EXCLUDED_CHOICES),
    help="excluded examples (default: kept and marked in tables, dropped from folders of images)",
)
@click.option("--evidence", is_flag=True, help="also what the model predicts, ranks and scores")
@click.option(
    "--history", is_flag=True, help="every decision and undo instead of the labels as they stand"
)
@click.option(
    "--beside", is_flag=True, help="own: what was decided and predicted, in columns at the end"
)
@click.option(
    "--protect-formulas",
    is_flag=True,
    help="own: an apostrophe before cells that a spreadsheet would run",
)
@click.option("--source", type=Path, metavar="PATH", help="own: where the imported file is now")
@click.option(
    "--import-number",
    type=whole(1, 100_000),
    metavar="N",
    help="own: which file, of a project that was imported from several",
)
def export(
    location: Location,
    project: str,
    format: str | None,
    output: Path | None,
    reviewed_only: bool,
    excluded: str | None,
    evidence: bool,
    history: bool,
    beside: bool,
    protect_formulas: bool,
    source: Path | None,
    import_number: int | None,
) -> int:
    """Write the file whole or not at all, and say how many labels it holds."""
    opened = open_project(location, project, "look")
    exporter = EXPORTERS[format] if format else find_exporter(output.name if output else "")
    own = OwnFile(
        number=import_number,
        path=None if source is None else expand_path(source),
        beside=beside,
        protects=protect_formulas,
    )
    name = exporter.name_file(
        opened.project.slug,
        reviewed_only=reviewed_only,
        day=date.today(),
        what="history" if history else "",
        of_source=name_ending(opened.project.settings, import_number),
    )
    path = expand_path(output or Path(name))
    require_writable(path)
    if history:
        export_history(opened.engine, opened.project.id, format=exporter.name, path=path)
        print(f"Wrote {path} ({path.stat().st_size:,} bytes).")
        return 0
    run = current_run(opened.engine, opened.project.id)
    export_labels(
        opened.engine,
        opened.project.id,
        format=exporter.name,
        path=path,
        reviewed_only=reviewed_only,
        held_out=None if run is None else open_suggestions(opened, run),
        held_out_test=None if run is None else open_suggestions(opened, run, "test"),
        excluded=excluded,
        evidence=evidence,
        own=own,
        media=opened.workspace.media_folder(opened.project.slug),
        tell=lambda note: print(printable(note)),
    )
    counts = count_exported(opened.engine, opened.project.id)
    held = counts.describe(exporter, reviewed_only=reviewed_only, excluded=excluded)
    print(f"Wrote {path} ({path.stat().st_size:,} bytes): {held}.")
    return 0


def require_writable(path: Path) -> None:
    """Check that a file can be written at a path.

    Raises:
        WorkspaceError: If it is a folder, or lies in one that does not exist.
    """
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise WorkspaceError(f"{path} {what}. Name a file in an existing folder after -o.")
