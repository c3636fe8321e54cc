"""A workspace that a test may damage: its own database and names, the big files linked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.workspace import Workspace, resolve_workspace


def own_digits(demos: Path, target: Path) -> Workspace:
    """Copy the digits project; files are hard links, so replace them, never write into them."""
    target.mkdir(parents=True)
    for part in demos.glob("tracin.db*"):
        shutil.copy2(part, target / part.name)
    shutil.copytree(
        demos / "projects" / "digits", target / "projects" / "digits", copy_function=os.link
    )
    return resolve_workspace(target)


def replace_file(path: Path, content: bytes) -> None:
    """Give a linked file other content without touching what it is linked to."""
    path.unlink()
    path.write_bytes(content)


def find_run(workspace: Workspace, slug: str = "digits") -> Path:
    """Return the folder of a project's current run."""
    engine = open_database(workspace.database_url)
    try:
        run = current_run(engine, get_project(engine, slug).id)
    finally:
        engine.dispose()
    assert run is not None
    return workspace.project_folder(slug) / run.folder
