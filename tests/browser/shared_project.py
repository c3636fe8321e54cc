"""A small project without a model, for what is about people and not about evidence."""

from __future__ import annotations

from pathlib import Path

from relabel.db.engine import open_database
from relabel.workspace import resolve_workspace
from tests.relabel.db.builders import build_scene


def build_shared_project(root: Path) -> Path:
    """Make a workspace with forty ranked texts, to be copied by `copy_workspace`."""
    workspace = resolve_workspace(root)
    workspace.prepare()
    engine = open_database(workspace.database_url)
    build_scene(engine, 40)
    engine.dispose()
    (root / "projects").mkdir(exist_ok=True)
    return root
