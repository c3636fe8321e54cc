"""Commands on runs in a store that several machines reach: publish, fetch."""

from __future__ import annotations

import click

from relabel.cli.context import open_project
from relabel.cli.display import show_progress
from relabel.cli.parameters import Location, command, project_argument
from relabel.db.runs import list_runs
from relabel.errors import NotFoundError
from relabel.runs.folder import RunFolder
from relabel.scoring.fetched import bring_run
from relabel.stores.address import parse_lasting_address
from relabel.stores.publish import publish_run
from relabel.stores.released import release_files
from relabel.text import counted, format_bytes


@command
@project_argument
@click.option("--to", metavar="URL", required=True, help="s3://..., gs://... or a folder")
@click.option("--run", metavar="KEY", help="another run than the current one")
@click.option(
    "--release", is_flag=True, help="remove its vectors here; they are then read from the store"
)
def publish(location: Location, project: str, to: str, run: str | None, release: bool) -> int:
    """Write the run into the store and say what is there."""
    store = parse_lasting_address(to)
    opened = open_project(location, project, "delete")
    key = opened.current_run().key if run is None else run
    known = [one.key for one in list_runs(opened.engine, opened.project.id)]
    if key not in known:
        raise NotFoundError(
            f"Project {project} has no run {key}; it has: {', '.join(known) or 'none'}."
        )
    folder = opened.workspace.run_folder(project, key)
    for problem in RunFolder(folder).find_problems():
        raise problem
    with show_progress(project) as on_progress:
        manifest = publish_run(folder, store, project=project, on_progress=on_progress)
    parts = counted(len(manifest.parts), "part")
    print(f"Run {manifest.run} is in {store}: {format_bytes(manifest.size)} in {parts}.")
    if release:
        freed = release_files(folder, store, manifest)
        print(f"{format_bytes(freed)} of vectors are read from there now.")
    return 0


@command
@project_argument
@click.option("--from", "source", metavar="URL", required=True, help="as for `publish`")
@click.option("--run", metavar="KEY", help="another run than the last one there")
def fetch(location: Location, project: str, source: str, run: str | None) -> int:
    """Bring the run here and make it the project's current one."""
    store = parse_lasting_address(source)
    opened = open_project(location, project)
    with show_progress(project) as on_progress:
        brought = bring_run(
            opened.engine, opened.workspace, project, store, run, on_progress=on_progress
        )
    print(f"Run {brought.key} of {project} is here, and its suspects are shown from now on.")
    return 0
