"""A workspace that a test may damage: its own database and names, the big files linked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tracin_core.config import Workspace, resolve_workspace


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


def find_run(workspace: Workspace) -> Path:
    """Return the folder of the only run of the digits project."""
    (run,) = (workspace.project_folder("digits") / "runs").glob("2*")
    return run
