"""Restore a project from a backup, whole or not at all; and describe a backup before that.

Pages describe a backup in a subprocess (``summarise_backup_apart``), because nobody has agreed to
trust it yet.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from sqlalchemy import Engine

from relabel.db.project_rules import Project, check_slug
from relabel.db.projects import get_project
from relabel.errors import NotFoundError, WorkspaceError
from relabel.files import explain_disk_errors
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.projects.backup import GROUPS, LATER_TABLES, load_rows
from relabel.projects.backup_file import (
    FILES,
    PIECE,
    ROWS,
    Manifest,
    is_index,
    open_backup,
    open_entry,
)
from relabel.projects.delete import MARK, mark_unfinished, remove_folder
from relabel.projects.restored import RestoredRows, check_count
from relabel.sandbox import run_apart
from relabel.workspace import Workspace
from tracin_core.errors import InputError
from tracin_core.files import atomic_folder

# Bytes that are left on the disk at least.
RESERVE = 200 * 10**6
_IMPOSSIBLE_NAMES = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)


def read_manifest(path: Path) -> Manifest:
    """Return what is in a backup, for a look before it is restored.

    Raises:
        InputError: If it is no backup, is damaged, or is made to do harm.
        WorkspaceError: If it cannot be read.
    """
    with open_backup(path) as (_, manifest):
        return manifest


def restore_project(
    engine: Engine,
    workspace: Workspace,
    path: Path,
    *,
    slug: str | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Project:
    """Restore a project from a backup, with all its events in their order.

    It appears when all of it is there. Nothing else may work on a project of this name meanwhile,
    so call it as a job.

    Args:
        engine: The database, of either kind.
        workspace: Where the project's files are put.
        path: What ``backup_project`` wrote.
        slug: Another name for it than it had.
        on_progress: Told about every file and chunk of rows.

    Returns:
        The project.

    Raises:
        InputError: If there is a project of this name, or the backup is none, is damaged or is
            made to do harm.
        WorkspaceError: If the backup cannot be read, or its files not be written.
    """
    with open_backup(path) as (archive, manifest):
        name = slug or manifest.slug
        check_slug(name)
        folder = workspace.project_folder(name)
        _check_free(engine, folder, name)
        _check_room(workspace, manifest)
        _check_tables(manifest)
        rows = RestoredRows(engine, name)
        is_placed = False
        with explain_disk_errors(folder):
            try:
                with atomic_folder(folder) as building:
                    # Until the project is shown, its folder counts as a leftover.
                    mark_unfinished(workspace, building, name)
                    _unpack(archive, manifest, building, on_progress)
                    _enter_rows(archive, manifest, rows, on_progress)
                is_placed = True
                # First the mark: a project that is shown never bears one.
                (folder / MARK).unlink()
                rows.show()
            except BaseException:
                # The folder first: until the rows are gone, they say whose it is.
                if (is_placed or (folder / MARK).exists()) and not rows.is_shown():
                    remove_folder(folder)
                rows.give_up()
                raise
    return get_project(engine, name)


def _check_free(engine: Engine, folder: Path, name: str) -> None:
    try:
        get_project(engine, name)
    except NotFoundError:
        if not folder.exists():
            return
        raise InputError(
            f"There is a folder {folder} already, which no project owns. Move it away, or choose "
            "another name with --name."
        ) from None
    raise InputError(
        f"There is a project named {name!r} already, and a restoration replaces nothing. Choose "
        "another name with --name, or delete that project first."
    )


def _check_tables(manifest: Manifest) -> None:
    """Check that every table of the backup is one that will be entered."""
    known = {f"{ROWS}/{group.name}.jsonl" for group in GROUPS}
    others = [name for name in manifest.entries if not name.startswith(f"{FILES}/")]
    unknown = sorted(set(others) - known)
    if unknown:
        raise InputError(
            f"The backup holds {', '.join(unknown)[:200]}, which this version does not know. "
            "Expected a backup of this version or an older one: update the program."
        )


def _check_room(workspace: Workspace, manifest: Manifest) -> None:
    workspace.prepare()
    free = shutil.disk_usage(workspace.root).free
    # The rows take about as much in the database as in the archive.
    if manifest.total_bytes + RESERVE > free:
        raise WorkspaceError(
            f"The backup takes {manifest.total_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            f"free in {workspace.root}. Free some space, or choose another workspace."
        )


def _unpack(archive: ZipFile, manifest: Manifest, folder: Path, on_progress: OnProgress) -> None:
    stage = "unpacking the files"
    files = [name for name in manifest.entries if name.startswith(f"{FILES}/")]
    names = [name for name in files if not is_index(name.removeprefix(f"{FILES}/"))]
    try:
        for number, name in enumerate(names):
            on_progress(Progress(stage, number, len(names)))
            target = folder / name.removeprefix(f"{FILES}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_entry(archive, manifest, name) as source, target.open("xb") as file:
                while piece := source.read(PIECE):
                    file.write(piece)
        for link, other in manifest.links.items():
            if is_index(link) or is_index(other):
                continue
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / other, folder / link)
    except OSError as error:
        if error.errno not in _IMPOSSIBLE_NAMES or error.filename is None:
            raise
        raise InputError(
            f"The backup names a file that cannot be made: {error.filename!r:.200} "
            f"({error.strerror}). Nothing was restored. Use another backup."
        ) from error
    on_progress(Progress(stage, len(names), len(names)))


def _enter_rows(
    archive: ZipFile, manifest: Manifest, rows: RestoredRows, on_progress: OnProgress
) -> None:
    stage, total, done = "entering the rows", max(1, sum(manifest.counts.values())), 0
    counts: Counter[str] = Counter()

    def count(number: int) -> None:
        nonlocal done
        done += number
        counts[group.name] += number
        on_progress(Progress(stage, min(done, total), total))

    on_progress(Progress(stage, 0, total))
    for group in GROUPS:
        if group.name in LATER_TABLES and f"{ROWS}/{group.name}.jsonl" not in manifest.entries:
            continue
        with open_entry(archive, manifest, f"{ROWS}/{group.name}.jsonl") as file:
            rows.enter(group.name, load_rows(group, file), count)
        check_count(group.name, counts[group.name], manifest.counts.get(group.name))
    on_progress(Progress(stage, total, total))


@dataclass(frozen=True)
class BackupSummary:
    """What a backup says of itself.

    Attributes:
        slug, title: Of the project.
        counts: Rows by table.
        total_bytes: Of all files, unpacked.
        created_at: When, ISO 8601.
    """

    slug: str
    title: str
    counts: Mapping[str, int]
    total_bytes: int
    created_at: str


def summarise_backup_apart(path: Path) -> BackupSummary:
    """Return what is in a backup.

    Raises:
        InputError: If it is no backup, is damaged, or is made to do harm.
        WorkspaceError: If it cannot be read.
    """
    request = {"path": str(path)}
    return BackupSummary(
        **run_apart(f"{__name__}:summarise_backup_in_process", request, what=f"{path}")
    )


def summarise_backup_in_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to ``summarise_backup_apart``, made in this process."""
    found = read_manifest(Path(request["path"]))
    summary = BackupSummary(
        found.slug, found.title, dict(found.counts), found.total_bytes, found.created_at
    )
    return asdict(summary)
