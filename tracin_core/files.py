"""Paths and files of the engine: checked before they are opened, written whole or not at all.

What is written appears under its name when it is complete, whenever the process is killed, and a
full disk or a missing permission is an error with its next step. What is read must be possible as
a path and no pipe, device or socket; ``HEADER_ERRORS`` is what NumPy raises for a broken ``.npy``
header.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

from tracin_core.errors import InputError, StorageError, TracInError

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
    """Move a complete folder to ``path`` on the same disk; what had the name is removed."""
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
    """Add the file's name to the error of a write that found no room."""
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
    """Raise a message with the next step for a full disk or a missing permission.

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
    """Describe which limit a file that is too large has met; "" for other reasons."""
    if reason != errno.EFBIG:
        return ""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return " (the file system's limit; on FAT32 it is 4 GB)"
    return f" (the limit of this process is {limit:,} bytes a file: see `ulimit -f`)"


def _ran_out(error: OSError) -> bool:
    """Return whether NumPy met a full disk, which it reports in words and without a number."""
    words = ("Not enough free space to write", "requested and")
    return any(found in str(error) for found in words)


# What is no file or folder of anybody's: reading it waits for ever, or never ends.
_SPECIAL = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# Of the running system: what looks like files there has no size, and no end. Shared memory has.
_SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - compared with, nothing is put there
_LONGEST_NAME = 255  # bytes, on all file systems in use
_SHOWN_PATH = 200  # characters


def expand_path(path: str | Path) -> Path:
    """Return a path with ``~`` written out, which need not exist, but could.

    Raises:
        InputError: If no file can be there: an unknown account's home, a name or path that is too
            long for the system, a zero character, links in a circle.
    """
    said = str(path)
    shown = ascii(said if len(said) <= _SHOWN_PATH else f"{said[:_SHOWN_PATH]}…")
    if "\x00" in said:
        raise InputError(
            f"The path {shown} contains a zero character, which no name can. Type it again."
        )
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"The path {shown} begins with the home of an account that this machine does not have. "
            "Expected ~ for your own, or a path from the top of the disk."
        ) from error
    fault = _find_path_fault(expanded)
    if fault is None:
        return expanded
    why = (
        f"has {len(said):,} characters, and a name may have 255 and a whole path 4,096"
        if fault == errno.ENAMETOOLONG
        else "leads through links that lead back to themselves"
    )
    raise InputError(f"The path {shown} {why}. Name another one, or rename what lies there.")


def _find_path_fault(path: Path) -> int | None:
    """Return ENAMETOOLONG or ELOOP where no file can be at a path."""
    # Below a folder that is missing, the system does not look at the names.
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        return errno.ENAMETOOLONG
    try:
        path.stat()
    except OSError as error:  # missing, or closed to us: whoever opens it says so
        return error.errno if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else None
    return None


def describe_special(path: Path) -> str:
    """Describe what a path is that is neither file nor folder; nothing where it is one, or missing.

    Links are followed. A pipe, a device or a socket is never opened to find that out.
    """
    try:
        mode = path.stat().st_mode
        found = _SPECIAL.get(stat.S_IFMT(mode), "")
        return found or _describe_system(path.resolve())
    except (OSError, RuntimeError, ValueError):
        return ""  # whoever opens it says what is wrong


def _describe_system(path: Path) -> str:
    if path.is_relative_to(_SHARED_MEMORY):
        return ""
    inside = next((folder for folder in _SYSTEM_FOLDERS if path.is_relative_to(folder)), "")
    return f"a part of the running system ({inside})" if inside else ""


def check_ordinary(path: Path, expected: str, error: type[TracInError] = InputError) -> None:
    """Check that a path is no pipe, device, socket or part of the running system.

    Args:
        path: What a person named, or what was found in a folder.
        expected: What should be there, for the message: "a table or a folder".
        error: The class of the error.

    Raises:
        TracInError: Of that class, if it is.
    """
    found = describe_special(path)
    if found:
        raise error(
            f"{path} is {found}, which is not read: it may never end. Expected {expected}. Copy "
            "what it holds into a plain file, and name that."
        )


# Beside ValueError, EOFError and OSError. Headers are Python literals: NumPy parses them, and where
# that fails it splits them into tokens first, as Python 2 wrote them.
HEADER_ERRORS = (
    *(SyntaxError, TokenError, RecursionError, MemoryError, OverflowError),
    *(TypeError, AttributeError, KeyError, IndexError),
)
