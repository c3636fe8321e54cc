"""Uploaded files: put into a folder of the workspace, unpacked with care, removed afterwards."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO

from tracin_core.config import Workspace
from tracin_core.files import disk_errors_explained
from tracin_core.importing.looking import unpack_apart

UPLOAD_TYPES = ("csv", "tsv", "parquet", "jsonl", "ndjson", "gz", "npz", "zip")
MAX_MEGABYTES = 500  # a browser's upload is held in memory; larger data is named by its path
_FOLDER = "uploads"
# An upload nobody imported: long enough for a lunch in the middle of it.
_FORGOTTEN_AFTER = 24 * 3600  # seconds
_UNSAFE = re.compile(r"[^\w.() -]+")
_CHUNK = 2**20  # bytes


def receive_upload(workspace: Workspace, name: str, content: IO[bytes]) -> Path:
    """Put an uploaded file into a folder of its own and unpack it if it is a zip.

    Args:
        workspace: Where the folder is made, under ``uploads``.
        name: The file's name as the browser gave it; untrusted.
        content: The file.

    Returns:
        What to import: the file, or what the archive holds.

    Raises:
        InputError: If the archive cannot be unpacked safely.
        WorkspaceError: If the disk is full.
    """
    folder = workspace.root / _FOLDER / secrets.token_hex(8)
    path = folder / safe_name(name)
    with disk_errors_explained(folder):
        folder.mkdir(parents=True)
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, _CHUNK)
            return _unpack(path) if path.suffix.lower() == ".zip" else path
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def safe_name(name: str) -> str:
    """Return a name that is one plain file inside its folder on every system."""
    plain = _UNSAFE.sub("_", PurePosixPath(name.replace("\\", "/")).name).strip(" .")
    return plain[-120:].lstrip(" .") or "upload"


def upload_folder(workspace: Workspace, path: Path) -> Path | None:
    """Return the folder that an upload lies in, or None if the path is no upload's."""
    uploads = workspace.root / _FOLDER
    if not path.is_relative_to(uploads) or path == uploads:
        return None
    return uploads / path.relative_to(uploads).parts[0]


def remove_upload(workspace: Workspace, path: Path) -> None:
    """Remove an upload; a path of the person's own stays untouched."""
    folder = upload_folder(workspace, path)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_uploads(workspace: Workspace, in_use: Collection[Path]) -> None:
    """Remove the uploads that a closed tab or a stopped server left behind.

    Args:
        workspace: Where they are.
        in_use: Paths that active jobs read.
    """
    kept = {upload_folder(workspace, path) for path in in_use}
    uploads = workspace.root / _FOLDER
    oldest = time.time() - _FORGOTTEN_AFTER
    for folder in uploads.iterdir() if uploads.is_dir() else ():
        if folder not in kept and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path) -> Path:
    """Unpack an archive beside itself, remove it, and return what is to be imported."""
    found = unpack_apart(path, path.with_name(f"{path.stem or 'upload'}-files"))
    path.unlink()
    return found
