"""Uploaded files: put into a folder of the workspace, unpacked with care, removed afterwards."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import IO

from tracin_core.config import Workspace
from tracin_core.files import disk_errors_explained
from tracin_core.holding import FolderHold
from tracin_core.housekeeping.uploads import (
    FOLDER,
    remove_upload,
    sweep_uploads,
    upload_folder,
)
from tracin_core.importing.looking import unpack_apart
from tracin_core.sources.backups import is_backup
from tracin_core.sources.formats import IMPORTERS

__all__ = [
    "MAX_MEGABYTES",
    "hold_upload",
    "list_upload_types",
    "receive_upload",
    "remove_upload",
    "safe_name",
    "sweep_uploads",
    "upload_folder",
]

MAX_MEGABYTES = 500  # a browser's upload is held in memory; larger data is named by its path
_UNSAFE = re.compile(r"[^\w.() -]+")
_CHUNK = 2**20  # bytes


def list_upload_types() -> list[str]:
    """Return the endings of files of data that may be uploaded, without the dot."""
    known = [ending for one in IMPORTERS.values() for ending in one.extensions]
    return list(dict.fromkeys(ending.removeprefix(".") for ending in (*known, ".gz", ".zip")))


def receive_upload(
    workspace: Workspace, name: str, content: IO[bytes], *, unpack: bool = True
) -> Path:
    """Put an uploaded file into a folder of its own and unpack it if it is a zip of data.

    A backup stays as it is, whatever it is named and wherever it was uploaded.

    Args:
        workspace: Where the folder is made, under ``uploads``.
        name: The file's name as the browser gave it; untrusted.
        content: The file.
        unpack: Whether it is data, and an archive of it to be unpacked.

    Returns:
        What to import: the file, or what the archive holds.

    Raises:
        InputError: If the archive cannot be unpacked safely.
        WorkspaceError: If the disk is full.
    """
    folder = workspace.root / FOLDER / secrets.token_hex(8)
    path = folder / safe_name(name)
    with disk_errors_explained(folder):
        folder.mkdir(parents=True)
        hold = FolderHold(folder)
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, _CHUNK)
            if unpack and path.suffix.lower() == ".zip" and not is_backup(path):
                return _unpack(path)
            return path
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            hold.release()


def safe_name(name: str) -> str:
    """Return a name that is one plain file inside its folder on every system."""
    plain = _UNSAFE.sub("_", PurePosixPath(name.replace("\\", "/")).name).strip(" .")
    return plain[-120:].lstrip(" .") or "upload"


def hold_upload(workspace: Workspace, path: Path) -> FolderHold:
    """Keep an upload from being swept for as long as the result lives, as in a page's session."""
    folder = upload_folder(workspace, path)
    if folder is None:
        raise ValueError(f"{path} is no upload")
    return FolderHold(folder)


def _unpack(path: Path) -> Path:
    """Unpack an archive beside itself, remove it, and return what is to be imported."""
    found = unpack_apart(path, path.with_name(f"{path.stem or 'upload'}-files"))
    path.unlink()
    return found
