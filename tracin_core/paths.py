"""Which paths can be read: written out, possible, and no pipe, device or socket."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tracin_core.errors import InputError, TracInError

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
    """Say what a path is that is neither file nor folder; nothing where it is one, or missing.

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
    """See that a path is no pipe, device, socket or part of the running system.

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
