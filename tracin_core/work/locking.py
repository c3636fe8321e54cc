"""One process at a time works on a project's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tracin_core.config import Workspace
from tracin_core.work.progress import OnProgress, Progress


@contextmanager
def project_locked(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the project's lock, waiting for the process that has it.

    The system releases the lock when its process ends in whatever way, so a killed one
    leaves nothing to clean up.

    Args:
        folder: The project's folder; made if needed.
        on_wait: Called once if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
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
    with project_locked(workspace.project_folder(slug), lambda: on_progress(waiting)):
        yield
