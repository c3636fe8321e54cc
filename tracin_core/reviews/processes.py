"""Whether a process of this host is still at work, and whose it is."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from tracin_core.config import DATABASE_VARIABLE


def process_is_alive(pid: int) -> bool:
    """Return whether a process of this host exists and is more than a zombie."""
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed child stays a zombie until its parent asks for it, which a server may never do.
    # Linux tells in /proc; the state follows the command name, which is in parentheses.
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(errors="replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return not Path("/proc/self/stat").exists()


def is_worker(pid: int, job_id: int, url: URL) -> bool | None:
    """Tell whether a process is the one that was started for a job.

    A number is given to another process when its own is gone, after a restart of the machine
    soon. So the process is known by what it was started as.

    Args:
        pid: A process of this host.
        job_id: The job.
        url: Its database.

    Returns:
        None where the system does not tell.
    """
    arguments = read_arguments(pid)
    if arguments is None:
        return None
    if arguments[-2:] != ["work", str(job_id)]:
        return False
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None  # another account's
    start = f"{DATABASE_VARIABLE}=".encode()
    named = [entry.removeprefix(start) for entry in entries if entry.startswith(start)]
    try:
        return bool(named) and _same_database(make_url(named[0].decode()), url)
    except (ArgumentError, ValueError):
        return False


def read_arguments(pid: int) -> list[str] | None:
    """Return what a process was started as; None where the system does not tell."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return [part.decode(errors="replace") for part in content.split(b"\0")[:-1]] or None


def _same_database(one: URL, other: URL) -> bool:
    if one.get_backend_name() != other.get_backend_name():
        return False
    if one.get_backend_name() != "sqlite":
        return (one.host, one.port, one.database) == (other.host, other.port, other.database)
    return Path(str(one.database)).resolve() == Path(str(other.database)).resolve()
