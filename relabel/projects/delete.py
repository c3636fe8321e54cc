"""Delete projects, measure their disk use, and remove what killed processes left.

The order: the project is hidden, which is one small transaction; its files go, which makes room;
its rows go last, so that until then the database knows what is still to be removed. Each step may
be repeated, by ``delete`` again, at the next start of the server, or by the doctor.

A project that is being restored has a mark in its folder, which says that the folder goes unless
the database comes to show the project.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, make_url

from relabel.db.bulk import settle_entries
from relabel.db.jobs import active_job, fail_dead_jobs, list_jobs
from relabel.db.project_rules import Project
from relabel.db.projects import (
    HiddenProject,
    delete_hidden_project,
    get_project,
    hide_project,
    list_hidden_projects,
)
from relabel.db.schema import DELETING, ENTERING, GROWING, RESTORING
from relabel.errors import DatabaseFullError, NotFoundError, WorkspaceError
from relabel.files import explain_disk_errors, remove_tree
from relabel.importers.ingest.kept_plans import remove_abandoned_plans
from relabel.importers.ingest.staging import identify_database, is_of_database
from relabel.locks import remove_abandoned_temporaries, remove_abandoned_unpackings
from relabel.logs import log_path
from relabel.projects.uploads import tidy_uploads
from relabel.text import format_bytes
from relabel.workspace import Workspace
from tracin_core.errors import TracInError

# A file with several names counts once, for the first of these that has it: what a person gets
# back by deleting the folders that come later.
_FOLDERS = {"media": "media", "runs": "runs", "training": "trainings", "encoded": "encoded"}
# Where a project has files that are written whole or not at all.
_IN_PROJECTS = (".", "runs/*", "training/*")
# In the folder of a project that is being restored. It says which database, and which project:
# a folder that a person has moved since is not what the mark was made for.
MARK = ".unfinished"
_REMOVED = ".removed-"
# What goes first where there is no room even to hide a project: what can be made again.
_DISPENSABLE = ("encoded", "training", "runs")


@dataclass(frozen=True, kw_only=True)
class DiskUse:
    """Bytes on the disk of one project's files; the database is not in it.

    Attributes:
        media: Images.
        trainings: Checkpoints, without those that a run has too.
        runs: Scores, vectors, indexes, and the checkpoints they come from.
        encoded: Examples in the form that networks read; made again when needed.
        other: The rest.
    """

    media: int = 0
    trainings: int = 0
    runs: int = 0
    encoded: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.media + self.trainings + self.runs + self.encoded + self.other


def measure_disk_use(workspace: Workspace, slug: str) -> DiskUse:
    """Add up a project's files; one with several names (hard links) counts once.

    Files that vanish meanwhile are left out, and links are not followed.
    """
    root = workspace.project_folder(slug)
    seen: set[tuple[int, int]] = set()
    sizes = {use: sum(_count_new(root / name, seen)) for name, use in _FOLDERS.items()}
    return DiskUse(**sizes, other=sum(_count_new(root, seen)))


def _count_new(folder: Path, seen: set[tuple[int, int]]) -> Iterator[int]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _count_new(Path(entry.path), seen)
                continue
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        place = (found.st_dev, found.st_ino)
        if place not in seen:
            seen.add(place)
            # Blocks of 512 bytes (POSIX): what a file with holes really takes.
            yield found.st_blocks * 512


def remove_abandoned(engine: Engine, workspace: Workspace) -> list[Path]:
    """Remove half-written files, unpacked archives, plans and uploads that nobody uses any more.

    What a process uses is locked by it, so this may be called at any time; the server does at its
    start, and the doctor.

    Returns:
        What was removed.
    """
    folders = {workspace.root, workspace.root / "backups"}
    # Backups lie where people have said.
    for job in list_jobs(engine, kinds=["backup"], limit=None):
        folders.add(Path(str(job.options.get("path", ""))).parent)
    for pattern in _IN_PROJECTS:
        folders |= set((workspace.root / "projects").glob(f"*/{pattern}"))
    removed = [path for folder in sorted(folders) for path in remove_abandoned_temporaries(folder)]
    folders_of_killed = [*remove_abandoned_unpackings(), *remove_abandoned_plans(workspace)]
    return [*removed, *folders_of_killed, *tidy_uploads(engine, workspace)]


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
    """Return whether a folder has a mark of this database: several may share a workspace.

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


@dataclass(frozen=True)
class Unfinished:
    """A deletion that was cut off, or is at work in another process.

    Attributes:
        slug: The name that the project had.
        bytes: What its files still take.
    """

    slug: str
    bytes: int


def remove_project(engine: Engine, workspace: Workspace, slug: str) -> None:
    """Delete a project: its files, its jobs' logs, and its rows with every decision.

    Where there is no room to write that it goes, its files go first and make some. Whatever stops
    it, calling this again goes on, also when no page shows the project any more.

    Raises:
        NotFoundError: If there is no such project, and nothing is left of one.
        JobError: If it has an active job.
        DatabaseFullError: If the database has no room, even after the files are gone.
        WorkspaceError: If its files may not be removed.
    """
    try:
        project = get_project(engine, slug)
    except NotFoundError:
        if not finish_removal(engine, workspace, slug):
            raise
        return
    logs = [log_path(workspace, job) for job in list_jobs(engine, slug, limit=None)]
    _check_removable(workspace.project_folder(slug))
    _hide(engine, workspace, project)
    finish_removal(engine, workspace, slug)
    with explain_disk_errors(workspace.root):
        for log in logs:
            if log is not None:
                log.unlink(missing_ok=True)


def finish_removal(engine: Engine, workspace: Workspace, slug: str) -> bool:
    """Remove what is left of a project that was being deleted; tell whether there was anything.

    Raises:
        WorkspaceError: If files of it may not be removed; its rows stay until they are.
        DatabaseError: If the database cannot be written.
    """
    hidden = list_hidden_projects(engine, DELETING, slug=slug)
    if hidden:
        _take_away_if_hidden(engine, workspace, slug)
    folders = _removed_folders(workspace, slug)
    for folder in folders:
        with explain_disk_errors(folder):
            remove_tree(folder)
    for project in hidden:
        delete_hidden_project(engine, project.id)
    return bool(hidden or folders)


def list_unfinished_removals(engine: Engine, workspace: Workspace) -> list[Unfinished]:
    """Return the deletions of which something is left, by name."""
    slugs = {hidden.slug for hidden in list_hidden_projects(engine, DELETING)}
    slugs |= {_slug_of_removed(folder) for folder in _removed_folders(workspace)}
    return [
        Unfinished(
            slug,
            sum(
                measure_disk_use(workspace, folder.name).total
                for folder in _removed_folders(workspace, slug)
            ),
        )
        for slug in sorted(slugs)
    ]


def finish_removals(engine: Engine, workspace: Workspace) -> list[str]:
    """Remove what killed deletions, restorations and imports have left; call it at a start.

    One that cannot be finished keeps none of the others back.

    Returns:
        The names of the projects of which something was left.

    Raises:
        TracInError: Why the first of those that stay could not be removed.
    """
    found, failed = set(), []

    def attempt(slug: str, finish: Callable[[], bool]) -> None:
        try:
            if finish():
                found.add(slug)
        except TracInError as error:
            failed.append(error)

    for one in list_unfinished_removals(engine, workspace):
        attempt(one.slug, partial(finish_removal, engine, workspace, one.slug))
    for hidden in list_hidden_projects(engine, ENTERING, GROWING, RESTORING):
        if active_job(engine, hidden.slug) is None:
            attempt(hidden.slug, partial(_finish_other, engine, workspace, hidden))
    for folder in marked_folders(workspace):
        if active_job(engine, folder.name) is None:
            attempt(folder.name, partial(clear_leftovers, engine, workspace, folder.name))
    for folder in (workspace.root / "projects").glob(".*.new"):
        slug = folder.name[1:].removesuffix(".new")
        if is_marked(workspace, folder, slug) and active_job(engine, slug) is None:
            attempt(slug, partial(_remove_explained, folder))
    if failed:
        raise failed[0]
    return sorted(found)


def clear_leftovers(engine: Engine, workspace: Workspace, slug: str) -> bool:
    """Remove a folder whose project was deleted, or never all there; tell whether there was one."""
    if finish_removal(engine, workspace, slug):
        return True
    folder = workspace.project_folder(slug)
    is_restored = folder.exists() and bool(list_hidden_projects(engine, RESTORING, slug=slug))
    if not (is_restored or is_marked(workspace, folder, slug)):
        return False
    if _is_shown(engine, slug):
        (folder / MARK).unlink(missing_ok=True)
        return False
    return _remove_explained(folder)


def remove_folder(folder: Path) -> None:
    """Take a folder out of the way in one step, then remove it."""
    removed = _take_away(folder)
    if removed is not None:
        remove_tree(removed)


def _hide(engine: Engine, workspace: Workspace, project: Project) -> None:
    """Hide a project, with the room that its own files have taken if there is no other."""
    try:
        fail_dead_jobs(engine)
        hide_project(engine, project.id)
    except DatabaseFullError as error:
        folder = workspace.project_folder(project.slug)
        if not _shares_disk(workspace, folder):
            raise
        before = measure_disk_use(workspace, project.slug).total
        for path in _by_worth(folder):
            _remove_explained(path)
            try:
                hide_project(engine, project.id)
            except DatabaseFullError:
                continue
            return
        raise DatabaseFullError(
            f"{error} The files of {project.slug} ({format_bytes(before)}) were removed. Its "
            "rows are still there: that was not enough room. Free some more space on that disk, "
            "then delete the project again: it goes on from here."
        ) from error


def _by_worth(folder: Path) -> Iterator[Path]:
    """Yield what is in a project's folder, what can be made again first."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for name in (*_DISPENSABLE, *names):
        if (folder / name).exists():
            yield folder / name


def _shares_disk(workspace: Workspace, folder: Path) -> bool:
    """Return whether removing files makes room for the database."""
    url = make_url(workspace.database_url)
    if url.get_backend_name() != "sqlite" or not url.database or not folder.exists():
        return False
    return Path(url.database).stat().st_dev == folder.stat().st_dev


def _check_removable(folder: Path) -> None:
    """Check that a project's folder can be taken away, before anything is.

    Raises:
        WorkspaceError: If its name or what is in it may not be changed.
    """
    for place in (folder.parent, folder):
        if folder.is_dir() and not os.access(place, os.W_OK | os.X_OK):
            raise WorkspaceError(
                f"{place} may not be changed by you, so nothing was deleted. Mend its permissions, "
                "then delete the project again."
            )


def _finish_other(engine: Engine, workspace: Workspace, hidden: HiddenProject) -> bool:
    """Settle what a killed import or restoration was entering."""
    if hidden.state == RESTORING:
        # The folder first: the rows say that it is the restoration's.
        clear_leftovers(engine, workspace, hidden.slug)
        delete_hidden_project(engine, hidden.id)
    else:
        settle_entries(engine, hidden.slug)
    return True


def _take_away_if_hidden(engine: Engine, workspace: Workspace, slug: str) -> None:
    """Take the folder of a hidden project away, unless a new project has the name by now."""
    folder = workspace.project_folder(slug)
    if not _is_shown(engine, slug):
        with explain_disk_errors(folder):
            _take_away(folder)


def _is_shown(engine: Engine, slug: str) -> bool:
    try:
        get_project(engine, slug)
    except NotFoundError:
        return False
    return True


def _take_away(folder: Path) -> Path | None:
    removed = folder.with_name(f"{_REMOVED}{folder.name}-{secrets.token_hex(4)}")
    try:
        folder.rename(removed)
    except FileNotFoundError:
        return None  # another process was first
    return removed


def _remove_explained(path: Path) -> bool:
    with explain_disk_errors(path):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    return True


def _removed_folders(workspace: Workspace, slug: str | None = None) -> list[Path]:
    """Return the folders that were taken away to be removed, of one project or of all."""
    folders = sorted((workspace.root / "projects").glob(f"{_REMOVED}*"))
    return [folder for folder in folders if slug in (None, _slug_of_removed(folder))]


def _slug_of_removed(folder: Path) -> str:
    return folder.name.removeprefix(_REMOVED).rpartition("-")[0]
