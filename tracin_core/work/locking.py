"""One process at a time works on a project's files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
