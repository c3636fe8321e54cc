"""File locks: on a project, on folders and files in use; and what killed processes left behind.

A lock that the system releases when its process ends, in whatever way, needs no list of processes
that may be wrong: another process can have the number of one that is gone. One process at a time
works on a project's files. Whoever removes temporary files, unpacked archives or uploads asks for
their lock first, so it takes nothing that somebody still uses.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from relabel.progress import OnProgress, Progress
from relabel.workspace import Workspace
from tracin_core.files import hold_file

# In a folder: locked for as long as somebody uses the folder.
HOLD = ".held"
# Seconds that its maker may take between making a file and locking it.
_YOUNG = 0.2
# In the system's folder for temporary files: archives that are unpacked to be imported.
_UNPACKED = "tracin-import-"
_DAY = 24 * 3600.0
# What is left of a killed writer: ".NAME.PROCESS-THREAD.tmp", as ``atomic_file`` names it.
_TEMPORARY = re.compile(r"\..+\.\d+-\d+\.tmp")


class FolderHold:
    """Keeps a folder from being taken for abandoned, for as long as the object lives.

    It ends with the object, with its process, and with ``release``.
    """

    def __init__(self, folder: Path) -> None:
        """Hold a folder, which exists."""
        self.release = weakref.finalize(self, os.close, hold_file(folder / HOLD))


def remove_abandoned_folder(folder: Path, *, older_than: float = 0.0) -> bool:
    """Remove a folder that nobody holds any more; return whether it was removed.

    Args:
        folder: The folder; one that was never held counts as held for a day.
        older_than: Seconds since something was put into it last.
    """
    hold = folder / HOLD
    if not _is_ours(folder, stat.S_ISDIR):
        return False
    age = time.time() - folder.stat().st_mtime
    if age < max(older_than, _YOUNG if hold.exists() else _DAY):
        return False
    if hold.exists() and not _is_unlocked(hold):
        return False
    # In a folder that all accounts share, what may not be removed is not ours to tell about.
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def make_unpacking_folder() -> tuple[Path, FolderHold]:
    """Make a folder to unpack an archive in, and hold it; what killed imports left goes first."""
    remove_abandoned_unpackings()
    folder = Path(tempfile.mkdtemp(prefix=_UNPACKED))
    return folder, FolderHold(folder)


def name_unpacked(path: Path) -> Path:
    """Return a path as the person knows it: from the archive on, if it was unpacked for a while."""
    top = Path(tempfile.gettempdir())
    parts = path.relative_to(top).parts if path.is_relative_to(top) else ()
    return Path(*parts[1:]) if len(parts) > 1 and parts[0].startswith(_UNPACKED) else path


def remove_abandoned_unpackings() -> list[Path]:
    """Remove what killed imports have unpacked, and return the folders."""
    folders = [
        path for path in _list(Path(tempfile.gettempdir())) if path.name.startswith(_UNPACKED)
    ]
    return [folder for folder in folders if remove_abandoned_folder(folder)]


def remove_abandoned_temporaries(folder: Path) -> list[Path]:
    """Remove what killed processes left of files that they wrote into a folder, and return it.

    May be called wherever others are writing: a file that is being written is locked by its
    writer, and the system releases the lock when the writer ends in whatever way.
    """
    removed = []
    for path in _list(folder):
        if _TEMPORARY.fullmatch(path.name) and _is_ours(path, stat.S_ISREG):
            young = time.time() - path.stat().st_ctime < _YOUNG
            if not young and _is_unlocked(path):
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def _is_unlocked(path: Path) -> bool:
    """Return whether nobody has locked a file, as far as the file system can tell."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked, or no locks there
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _is_ours(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return is_kind(found.st_mode) and found.st_uid == os.geteuid()


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


@contextmanager
def lock_project(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the project's lock, waiting for the process that has it.

    The system releases the lock when its process ends in whatever way, so a killed one
    leaves nothing to clean up. A thread that has it takes it again at once, and keeps it until
    its outermost block ends.

    Args:
        folder: The project's folder; made if needed.
        on_wait: Called once if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # One object a file and process, so that whoever holds the lock may call what takes it again.
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def wait_for_project(workspace: Workspace, slug: str, on_progress: OnProgress) -> Iterator[None]:
    """Hold a project's lock; where another process has it, report that and wait.

    Args:
        workspace: Where the project is.
        slug: The project, which need not exist yet.
        on_progress: Told once if it has to wait.
    """
    waiting = Progress("waiting for another process that works on this project", 0, 1)
    with lock_project(workspace.project_folder(slug), lambda: on_progress(waiting)):
        yield
