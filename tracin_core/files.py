"""Files and folders that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tracin_core.errors import WorkspaceError

# What a person can mend, by errno, with what to do about it. Anything else is a bug.
_REMEDIES = {
    errno.ENOSPC: "The disk is full. Free some space",
    errno.EDQUOT: "Your disk quota is used up. Free some space",
    errno.EACCES: "Writing there is not allowed. Mend the permissions",
    errno.EPERM: "Writing there is not allowed. Mend the permissions",
    errno.EROFS: "That file system is read-only. Mount it writable",
    errno.EIO: "The disk reported an error. Check it",
}


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Turn a full disk or a missing permission into a message with the next step.

    Args:
        folder: What was being written, named in the message.

    Raises:
        WorkspaceError: For a full, read-only or failing disk and for missing permissions.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(errno.ENOSPC if _numpy_ran_out(error) else error.errno or 0)
        if remedy is None:
            raise
        found = error.strerror or str(error)
        raise WorkspaceError(
            f"Could not write {error.filename or folder}: {found}. {remedy} and start "
            "again, or choose another folder with --workspace; what is finished is kept."
        ) from error


def _numpy_ran_out(error: OSError) -> bool:
    """Tell whether NumPy met a full disk, which it reports in words and without a number."""
    words = ("Not enough free space to write", "requested and")
    return error.errno is None and any(found in str(error) for found in words)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes ``path`` when the block succeeds."""
    # A name of its own for each thread: a server writes two exports at once.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what processes killed within ``atomic_file`` have left in a folder.

    Call it only where no other process may be writing there.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def exported_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, in a place that a person chose, that takes its name when the block succeeds.

    Missing folders on the way are made.

    Raises:
        WorkspaceError: If it cannot be written, for instance because the disk is full; a file
            that had the name before is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        raise WorkspaceError(
            f"The file {path} cannot be written: {error.strerror or error}. Free some space or "
            "mend the folder's permissions, or choose another place."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file that is there whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that replaces it when the block succeeds.

    A folder that an earlier, killed process left half-made is thrown away first. The caller
    sees to it that one process at a time works on ``path``.
    """
    building = path.with_name(f".{path.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
        replace_folder(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Give a complete folder the name ``path`` on the same disk; what had the name is removed."""
    replaced = path.with_name(f".{path.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        path.rename(replaced)
    new.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def flush_to_disk(path: Path) -> None:
    """Wait until the file's bytes are on the disk, so that a power cut cannot undo a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
