"""Delete a project with its files, so that a kill at any moment leaves nothing that stays."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import NotFoundError
from tracin_core.files import disk_errors_explained
from tracin_core.housekeeping.restored_rows import restored_name
from tracin_core.importing.staging import identify_database
from tracin_core.reviews.deleting import (
    delete_hidden_project,
    hide_project,
    list_hidden_projects,
)
from tracin_core.reviews.jobs import active_job, fail_dead_jobs, list_jobs
from tracin_core.reviews.projects import get_project
from tracin_core.reviews.unseen import is_being_entered, settle_entries
from tracin_core.work.logs import log_path

# In a project's folder: the rows of this project go, or are not all there yet. It decides only
# where the database does not know the project any more.
MARK = ".unfinished"
_REMOVED = ".removed-"


def remove_project(engine: Engine, workspace: Workspace, slug: str) -> None:
    """Delete a project: its rows with every decision, then its files and its jobs' logs.

    The rows go first. From then on no page shows the project, and what is left of it is removed
    by ``finish_removals`` if this process is killed.

    Raises:
        NotFoundError: If there is no such project.
        JobError: If it has an active job.
        WorkspaceError: If its folder may not be removed; its rows are gone then.
    """
    fail_dead_jobs(engine)
    project = get_project(engine, slug)
    logs = [log_path(workspace, job) for job in list_jobs(engine, slug, limit=10_000)]
    folder = workspace.project_folder(slug)
    with disk_errors_explained(folder):
        if folder.is_dir():
            mark_unfinished(workspace, folder)
        try:
            hide_project(engine, project.id)
        except BaseException:
            _unmark_if_there(engine, folder)
            raise
        # At once: the name is free now, and a new project's files must not get in here.
        removed = _take_away(folder)
    delete_hidden_project(engine, project.id)
    with disk_errors_explained(folder):
        if removed is not None:
            shutil.rmtree(removed)
        for log in logs:
            if log is not None:
                log.unlink(missing_ok=True)


def finish_removals(engine: Engine, workspace: Workspace) -> list[str]:
    """Remove what killed deletions, restorations and imports have left; call it at a start.

    Returns:
        The names of the projects of which something was left.
    """
    found = set()
    for project_id, name in list_hidden_projects(engine):
        slug = name.partition("#")[0]
        if is_being_entered(name):
            if active_job(engine, slug) is None:
                settle_entries(engine, slug)
                found.add(slug)
        elif restored_name(name) is None or active_job(engine, slug) is None:
            delete_hidden_project(engine, project_id)
            found.add(slug)
    for folder in _marked_folders(workspace):
        if active_job(engine, folder.name) is None and clear_leftovers(
            engine, workspace, folder.name
        ):
            found.add(folder.name)
    for folder in (workspace.root / "projects").glob(f"{_REMOVED}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (workspace.root / "projects").glob(".*.new"):
        slug = folder.name[1:].removesuffix(".new")
        if _is_marked(workspace, folder) and active_job(engine, slug) is None:
            shutil.rmtree(folder, ignore_errors=True)
    return sorted(found)


def mark_unfinished(workspace: Workspace, folder: Path) -> None:
    """Note in a project's folder that it goes if this database does not show the project."""
    (folder / MARK).write_text(identify_database(workspace), "utf-8")


def clear_leftovers(engine: Engine, workspace: Workspace, slug: str) -> bool:
    """Remove a folder whose project was deleted, or never all there; tell whether there was one."""
    folder = workspace.project_folder(slug)
    if not _is_marked(workspace, folder) or _unmark_if_there(engine, folder):
        return False
    remove_folder(folder)
    return True


def remove_folder(folder: Path) -> None:
    """Take a folder out of the way in one step, then remove it."""
    removed = _take_away(folder)
    if removed is not None:
        shutil.rmtree(removed)


def _take_away(folder: Path) -> Path | None:
    removed = folder.with_name(f"{_REMOVED}{folder.name}-{secrets.token_hex(4)}")
    try:
        folder.rename(removed)
    except FileNotFoundError:
        return None  # another process was first
    return removed


def _marked_folders(workspace: Workspace) -> Iterator[Path]:
    for mark in sorted((workspace.root / "projects").glob(f"*/{MARK}")):
        if not mark.parent.name.startswith(".") and _is_marked(workspace, mark.parent):
            yield mark.parent


def _is_marked(workspace: Workspace, folder: Path) -> bool:
    """Tell whether a folder has a mark of this database: several may share a workspace."""
    try:
        return (folder / MARK).read_text("utf-8") == identify_database(workspace)
    except (OSError, ValueError):
        return False


def _unmark_if_there(engine: Engine, folder: Path) -> bool:
    """Take the mark off a folder whose project is in the database; tell whether it is."""
    try:
        get_project(engine, folder.name)
    except NotFoundError:
        return False
    (folder / MARK).unlink(missing_ok=True)
    return True
