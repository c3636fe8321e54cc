"""Uploaded files: put into a folder of the workspace, unpacked with care, removed afterwards."""

from __future__ import annotations

import re
import secrets
import shutil
import stat
import time
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO

from tracin_core.config import Workspace
from tracin_core.errors import InputError
from tracin_core.files import disk_errors_explained
from tracin_core.sources.trees import check_size, safe_parts

UPLOAD_TYPES = ("csv", "tsv", "parquet", "jsonl", "ndjson", "gz", "npz", "zip")
MAX_MEGABYTES = 500  # a browser's upload is held in memory; larger data is named by its path
_FOLDER = "uploads"
# An upload nobody imported: long enough for a lunch in the middle of it.
_FORGOTTEN_AFTER = 24 * 3600  # seconds
_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".gz")
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
    target = path.with_name(f"{path.stem or 'upload'}-files")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _choose_members(path, archive):
                _extract(archive, member, target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise InputError(
            f"The archive {path.name} cannot be unpacked: {error}. Expected a zip without a "
            "password. Make it again, or unpack it and give the folder's path."
        ) from error
    path.unlink()
    return _find_data(target)


def _choose_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files that are data; what is written must lie inside, whatever it is called."""
    files = [one for one in archive.infolist() if not one.is_dir()]
    check_size(path, len(files), sum(member.file_size for member in files))
    members = []
    for member in files:
        parts = safe_parts(member.filename)
        if parts is None:  # what systems add to every archive is no data
            continue
        odd = not parts or ":" in member.filename or "\x00" in member.filename
        if odd or stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(
                f"The archive names the file {member.filename[:80]!r}, which would lie outside "
                "its folder or is a link. Expected plain files. Make the archive again without it."
            )
        members.append(member)
    if not members:
        raise InputError(
            f"The archive {path.name} holds no files. Expected a folder of images, a table or a "
            "saved data set in it."
        )
    return members


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    path = target / member.filename.replace("\\", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("wb") as file:
        # zipfile stops at the size that the archive claims, which was added up before.
        shutil.copyfileobj(source, file, _CHUNK)


def _find_data(folder: Path) -> Path:
    """Return the folder behind wrappings of one folder, or the only table at its top."""
    inside = sorted(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = sorted(folder.iterdir())
    files = [path for path in inside if path.is_file()]
    tables = [path for path in files if path.suffix.lower() in _TABLE_SUFFIXES]
    saved = any(path.name in ("dataset_info.json", "dataset_dict.json") for path in files)
    return tables[0] if len(tables) == 1 and not saved else folder
