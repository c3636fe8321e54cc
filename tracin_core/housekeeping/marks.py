"""The mark in a folder that is a project's only if the database comes to show the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tracin_core.config import Workspace
from tracin_core.importing.staging import identify_database, is_of_database

# In the folder of a project that is being restored. It says which database, and which project:
# a folder that a person has moved since is not what the mark was made for.
MARK = ".unfinished"


def mark_unfinished(workspace: Workspace, folder: Path, slug: str | None = None) -> None:
    """Note in a project's folder that it goes if this database does not show the project.

    Args:
        workspace: Where it is.
        folder: The folder, under whatever name.
        slug: The project; by default what the folder is named.
    """
    mark = f"{identify_database(workspace)}\n{slug or folder.name}\n"
    (folder / MARK).write_text(mark, "utf-8")


def list_moved_leftovers(workspace: Workspace) -> list[Path]:
    """Return folders that bear the mark of a restoration under another name than they have.

    A person has moved them, so nobody but a person removes them.
    """
    return [
        mark.parent
        for mark in sorted((workspace.root / "projects").glob(f"*/{MARK}"))
        if _read_mark(mark.parent)[1] not in ("", mark.parent.name)
    ]


def marked_folders(workspace: Workspace) -> Iterator[Path]:
    """Yield the projects' folders with a mark of this database."""
    for mark in sorted((workspace.root / "projects").glob(f"*/{MARK}")):
        folder = mark.parent
        if not folder.name.startswith(".") and is_marked(workspace, folder, folder.name):
            yield folder


def is_marked(workspace: Workspace, folder: Path, slug: str) -> bool:
    """Tell whether a folder has a mark of this database: several may share a workspace.

    A mark under another name was moved together with the folder, by a person.
    """
    identity, marked = _read_mark(folder)
    return is_of_database(workspace, identity) and marked in ("", slug)


def _read_mark(folder: Path) -> tuple[str, str]:
    """Return database and project of a mark; "" for what it does not say."""
    try:
        identity, _, slug = (folder / MARK).read_text("utf-8").partition("\n")
    except (OSError, ValueError):
        return "", ""
    return identity, slug.strip()
