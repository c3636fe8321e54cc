"""The staging folder of an import, and the removal of what killed imports left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from relabel.db.examples import NewExample
from relabel.errors import WorkspaceError
from relabel.importers.ingest.truth import merge_truth
from relabel.locks import lock_project
from relabel.workspace import Workspace
from tracin_core.files import naming, replace_folder

STAGING = ".import"  # beside the media, on the same disk, so that moving is renaming
_OWNER = "owner.json"
# What a project has on disk besides what an import makes.
_WORK = ("runs", "training", "demo.json")


class _BusyError(Exception):
    """Another process works on the project."""


class Staging:
    """The folder in which an import is built before anything is visible.

    Attributes:
        media: For pictures.
        examples: One JSON line an example, to be entered in the database at the end.
        truth: Truth file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.media = folder / "media"
        self.examples = folder / "examples.jsonl"
        self.truth = folder / "truth.parquet"
        self._folders: set[str] = set()

    def store_image(self, data: bytes, digest: str, suffix: str) -> str:
        """Write a picture once, and return its path below ``media``.

        Two hexadecimal digits as a folder keep folders small: 60,000 pictures make 234 a folder.
        """
        name = f"{digest[:2]}/{digest[2:]}{suffix}"
        path = self.media / name
        if digest[:2] not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(digest[:2])
        with naming(path):
            path.write_bytes(data)
        return name

    def read_examples(self) -> Iterator[NewExample]:
        """Yield the examples as they are to be entered."""
        with self.examples.open(encoding="utf-8") as file:
            for line in file:
                yield NewExample(**json.loads(line))


@contextmanager
def open_staging(workspace: Workspace, slug: str) -> Iterator[Staging]:
    """Yield an empty staging folder that is gone afterwards, however the block ends."""
    folder = workspace.project_folder(slug) / STAGING
    _remove_staging(folder)
    folder.mkdir(parents=True)
    (folder / _OWNER).write_text(
        json.dumps({"database": identify_database(workspace)}), encoding="utf-8"
    )
    try:
        yield Staging(folder)
    finally:
        _remove_staging(folder)


def place_files(workspace: Workspace, slug: str, staging: Staging, batch: str) -> None:
    """Move pictures and truth to their places, once every byte is on the disk.

    Args:
        workspace: Where the project is.
        slug: The project.
        staging: What was built.
        batch: Name of this import's folder of pictures.
    """
    if staging.media.is_dir():
        os.sync()  # tens of thousands of files: one call instead of one for each
        target = workspace.media_folder(slug) / batch
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(staging.media, target)
    if staging.truth.is_file():
        merge_truth(workspace.truth_path(slug), staging.truth)


def remove_batch(workspace: Workspace, slug: str, batch: str, *, is_new: bool) -> None:
    """Remove the files of an import that did not reach the database."""
    shutil.rmtree(workspace.media_folder(slug) / batch, ignore_errors=True)
    if is_new:
        workspace.truth_path(slug).unlink(missing_ok=True)
        shutil.rmtree(workspace.media_folder(slug), ignore_errors=True)


def check_folder_is_free(workspace: Workspace, slug: str) -> None:
    """Check that a new project's folder holds nothing of another one.

    Raises:
        WorkspaceError: If it does; for instance because the database is another one.
    """
    folder = workspace.project_folder(slug)
    found = [name for name in _WORK if (folder / name).exists()]
    media = workspace.media_folder(slug)
    if media.is_dir() and any(media.iterdir()):
        found.append("media")
    if found:
        raise WorkspaceError(
            f"The folder {folder} holds {', '.join(found)} of a project that the database does "
            "not have. It may belong to another database. Choose another name for the import, or "
            "another workspace with --workspace; or move the folder away."
        )


def remove_leftovers(
    workspace: Workspace, find_settings: Callable[[str], Mapping[str, Any] | None]
) -> list[str]:
    """Remove what imports that were killed have left in any project's folder.

    Args:
        workspace: Where the projects are.
        find_settings: Returns the settings of the project with a slug; None where the database
            does not have it. Asked while the project's lock is held, so that an import which
            ended a moment ago is not mistaken for one that was killed.

    Returns:
        The names of the projects of which something was left.
    """
    found = []
    for staging in sorted((workspace.root / "projects").glob(f"*/{STAGING}")):
        folder = staging.parent
        if not _may_remove(workspace, staging):
            continue
        try:
            with lock_project(folder, _refuse_to_wait):
                if not staging.is_dir():
                    continue  # an import at work a moment ago
                remove_own_leftovers(workspace, folder.name, find_settings(folder.name))
        except _BusyError:
            continue  # an import at work
        found.append(folder.name)
    return found


def remove_own_leftovers(
    workspace: Workspace, slug: str, settings: Mapping[str, Any] | None
) -> None:
    """Remove what a killed import into this project has left; its lock must be held.

    Args:
        workspace: Where the project is.
        slug: The project.
        settings: Of the project; None where the database does not have it.
    """
    folder = workspace.project_folder(slug)
    if not _may_remove(workspace, folder / STAGING):
        return
    if _owner_of(folder / STAGING) is not None:
        _remove_placed(folder, settings)
    _remove_staging(folder / STAGING)


def _remove_placed(folder: Path, settings: Mapping[str, Any] | None) -> None:
    """Remove pictures and truth that have their places, but no examples in the database."""
    batches = {entry["batch"] for entry in (settings or {}).get("imports", ())}
    for media in folder.glob("media/*"):
        if settings is None or (media.name.startswith("import-") and media.name not in batches):
            shutil.rmtree(media, ignore_errors=True)
    if settings is None:
        (folder / "truth.parquet").unlink(missing_ok=True)


def _remove_staging(staging: Path) -> None:
    """Remove a staging folder, its owner's name last: a kill on the way leaves it known."""
    if not staging.is_dir():
        return
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _OWNER:
            path.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)


def _refuse_to_wait() -> None:
    raise _BusyError


def _may_remove(workspace: Workspace, staging: Path) -> bool:
    """Return whether a staging folder is this database's, or has nothing of anybody's in it.

    The second is what a kill leaves before the owner's name is written, or after it is removed.
    """
    owner = _owner_of(staging)
    if owner is not None:
        return is_of_database(workspace, owner)
    return staging.is_dir() and all(path.name == _OWNER for path in staging.iterdir())


def _owner_of(staging: Path) -> str | None:
    try:
        found = json.loads((staging / _OWNER).read_text("utf-8"))
        return str(found["database"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def identify_database(workspace: Workspace) -> str:
    """Return a name for the database without its password, the same in every process.

    A file in the workspace is named by its place there, so that the workspace can be moved.
    """
    url = make_url(workspace.database_url).set(password=None)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        if path.is_relative_to(workspace.root):
            url = url.set(database=f"workspace/{path.relative_to(workspace.root)}")
    return _hashed(url.render_as_string())


def is_of_database(workspace: Workspace, identity: str) -> bool:
    """Return whether a name is this database's, also one given before workspaces could be moved."""
    former = make_url(workspace.database_url).set(password=None).render_as_string()
    return identity in (identify_database(workspace), _hashed(former))


def _hashed(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]
