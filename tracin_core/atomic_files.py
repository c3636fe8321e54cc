"""Files and folders that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracin_core.errors import StorageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# What a person can mend, by errno, with what to do about it. Anything else is a bug.
_REMEDIES = {
    errno.ENOSPC: "The disk is full. Free some space",
    errno.EDQUOT: "Your disk quota is used up. Free some space",
    errno.EACCES: "Writing there is not allowed. Mend the permissions",
    errno.EPERM: "Writing there is not allowed. Mend the permissions",
    errno.EROFS: "That file system is read-only. Mount it writable",
    errno.EIO: "The disk reported an error. Check it",
    errno.EFBIG: "The file would be larger than is allowed there. Raise the limit",
}
# Where the file system knows no locks.
_NO_LOCKS = (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes ``path`` when the block succeeds.

    Raises:
        OSError: What the block raises; a write that failed without naming its file names it.
    """
    # A name of its own for each thread: a server writes two exports at once.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    held = None
    try:
        held = hold_file(temporary)
        with naming(path):
            yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


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


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file that is there whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def flush_to_disk(path: Path) -> None:
    """Wait until the file's bytes are on the disk, so that a power cut cannot undo a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hold_file(path: Path) -> int:
    """Make a file and lock it; where the file system knows no locks it is merely made."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
    return descriptor


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let a write that found no room name its file, as opening one does by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None and (error.errno in _NO_ROOM or _ran_out(error)):
            error.filename = str(path)
        raise


@contextmanager
def translate_disk_errors(
    folder: Path,
    *,
    error_class: type[StorageError] = StorageError,
    way_out: str = "choose another folder",
) -> Iterator[None]:
    """Turn a full disk or a missing permission into a message with the next step.

    Args:
        folder: What was being written, named in the message.
        error_class: What is raised.
        way_out: What else a person can do than mend the disk.

    Raises:
        StorageError: For a full, read-only or failing disk and for missing permissions.
    """
    try:
        yield
    except OSError as error:
        reason = find_reason(error, folder)
        remedy = _REMEDIES.get(reason or 0)
        if remedy is None:
            raise
        found = error.strerror or str(error)
        raise error_class(
            f"Could not write {error.filename or folder}: {found}{describe_limit(reason)}. "
            f"{remedy} and start again, or {way_out}; what is finished is kept."
        ) from error


def find_reason(error: OSError, folder: Path) -> int | None:
    """Return the errno of a failed write, also where a library tells it in words alone."""
    if error.errno is not None:
        return error.errno
    for reason in _NO_ROOM:
        if os.strerror(reason) in str(error):  # as Annoy and Arrow say it
            return reason
    if not _ran_out(error):
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    place = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    # Both look the same to NumPy: it asks for room beforehand, and counts what was written.
    too_large = limit != resource.RLIM_INFINITY and shutil.disk_usage(place).free > limit
    return errno.EFBIG if too_large else errno.ENOSPC


def describe_limit(reason: int | None) -> str:
    """Say which limit a file that is too large has met; "" for other reasons."""
    if reason != errno.EFBIG:
        return ""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return " (the file system's limit; on FAT32 it is 4 GB)"
    return f" (the limit of this process is {limit:,} bytes a file: see `ulimit -f`)"


def _ran_out(error: OSError) -> bool:
    """Tell whether NumPy met a full disk, which it reports in words and without a number."""
    words = ("Not enough free space to write", "requested and")
    return any(found in str(error) for found in words)
