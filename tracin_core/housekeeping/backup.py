"""Write a project into one file: its rows with every event, images, runs, and what is known."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from tracin_core import __version__
from tracin_core.config import Workspace
from tracin_core.errors import WorkspaceError
from tracin_core.files import exported_file
from tracin_core.holding import remove_abandoned_temporaries
from tracin_core.housekeeping.backup_file import (
    FILES,
    MANIFEST,
    PIECE,
    ROWS,
    FileEntry,
    Manifest,
    is_index,
)
from tracin_core.housekeeping.backup_rows import GROUPS, dump_rows
from tracin_core.reviews.database import reading_one_state
from tracin_core.reviews.projects import Project, get_project
from tracin_core.work.progress import OnProgress, Progress, ignore_progress

# Made again when it is needed.
_LEFT_OUT = ("encoded",)
_TRAININGS = "training"


def backup_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    path: Path,
    *,
    with_trainings: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Write a project into a zip archive, which appears when it is complete.

    The rows are those of one moment. Nothing else may work on the project meanwhile, so call it
    as a job.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        path: The archive; one of this name is replaced.
        with_trainings: Also what a training needs to go on, and checkpoints no run uses.
        on_progress: Told about every table and file.

    Returns:
        The path.

    Raises:
        NotFoundError: If there is no such project.
        WorkspaceError: If a file cannot be read, or the archive cannot be written.
    """
    project = get_project(engine, slug)
    remove_abandoned_temporaries(path.parent)  # of backups that were killed
    with exported_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        writer = _Writer(archive, on_progress)
        writer.write_rows(engine, project)
        folder = workspace.project_folder(slug)
        writer.write_files(folder, list(_find_files(folder, with_trainings)))
        writer.write_manifest(project)
    return path


def _find_files(folder: Path, with_trainings: bool) -> Iterator[Path]:
    """Yield the project's files, without what is hidden, unfinished, or made again when needed."""
    left_out = {*_LEFT_OUT, *(() if with_trainings else (_TRAININGS,))}
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name not in left_out]
        place = Path(root).relative_to(folder)
        folders[:] = [name for name in folders if not is_index(str(place / name))]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


class _Writer:
    """An archive in the making."""

    def __init__(self, archive: zipfile.ZipFile, on_progress: OnProgress) -> None:
        self._archive = archive
        self._on_progress = on_progress
        self._entries: dict[str, FileEntry] = {}
        self._links: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._seen: dict[tuple[int, int], str] = {}

    def write_rows(self, engine: Engine, project: Project) -> None:
        """Write all tables as they are at one moment."""
        stage = "writing the rows"
        with reading_one_state(engine) as connection:
            for number, group in enumerate(GROUPS):
                self._on_progress(Progress(stage, number, len(GROUPS)))
                lines = dump_rows(connection, group, project.id)
                name = f"{ROWS}/{group.name}.jsonl"
                # The header is no row.
                self._counts[group.name] = self._write(name, lines, zipfile.ZIP_DEFLATED) - 1
        self._on_progress(Progress(stage, len(GROUPS), len(GROUPS)))

    def write_files(self, folder: Path, paths: list[Path]) -> None:
        """Write files; one with several names once."""
        stage = "writing the files"
        for number, path in enumerate(paths):
            self._on_progress(Progress(stage, number, len(paths)))
            name = path.relative_to(folder).as_posix()
            try:
                self._write_file(path, name)
            except OSError as error:
                if error.filename is None or Path(error.filename) != path:
                    raise
                raise WorkspaceError(
                    f"{path} cannot be read: {error.strerror}. Mend its permissions; no backup "
                    "was written."
                ) from error
        self._on_progress(Progress(stage, len(paths), len(paths)))

    def write_manifest(self, project: Project) -> None:
        """Write the list of all that is there."""
        manifest = Manifest(
            slug=project.slug,
            title=project.title,
            kind=project.kind,
            counts=self._counts,
            entries=self._entries,
            links=self._links,
            program=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._archive.writestr(MANIFEST, manifest.dump(), zipfile.ZIP_DEFLATED)

    def _write_file(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            first = self._seen.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                self._links[name] = first
                return
            pieces = iter(lambda: file.read(PIECE), b"")
            # Images, indexes and vectors of floats: compressing them gains nothing.
            self._write(f"{FILES}/{name}", pieces, zipfile.ZIP_STORED)

    def _write(self, name: str, pieces: Iterator[bytes], compression: int) -> int:
        """Write one file and return in how many pieces it came."""
        info = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
        info.compress_type = compression
        info.external_attr = 0o100644 << 16
        digest, size, count = hashlib.sha256(), 0, 0
        with self._archive.open(info, "w", force_zip64=True) as target:
            for piece in pieces:
                count += 1
                target.write(piece)
                digest.update(piece)
                size += len(piece)
        self._entries[name] = FileEntry(size, digest.hexdigest())
        return count
