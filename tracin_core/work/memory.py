"""A bound on the memory of work with data that strangers made: a message instead of a dead machine.

Two bounds, because neither holds alone. On Linux the process is given a limit that the system
itself keeps: an allocation beyond it fails at once, as ``MemoryError``. macOS takes such a limit
and does not keep it, so whoever started the process looks at it as well (``apart.py``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracin_core.errors import ConfigurationError, InputError

MEMORY_VARIABLE = "TRACIN_IMPORT_MEMORY"
# Bytes: sixteen pictures of 50 million pixels wait, four are decoded, a million keys are kept.
DEFAULT_BOUND = 4 * 2**30
_LEAST = 256 * 2**20  # bytes; less does not load the libraries
_LINUX = sys.platform.startswith("linux")


def memory_bound() -> int:
    """Return how many bytes the reading of data may take: 4 GB, or half of the machine's memory.

    Raises:
        ConfigurationError: If the environment says otherwise in something that is no number.
    """
    said = os.environ.get(MEMORY_VARIABLE, "").strip()
    if not said:
        return min(DEFAULT_BOUND, max(_physical_memory() // 2, _LEAST))
    try:
        bound = float(said) * 2**30
        if not _LEAST <= bound < 2**50:
            raise ValueError(said)
        return int(bound)
    except ValueError as error:
        raise ConfigurationError(
            f"Found {MEMORY_VARIABLE}={said!r}. Expected gigabytes as a number of at least "
            f"{_LEAST / 2**30:g}, for example 8. Correct it, or leave it out."
        ) from error


def too_much_memory(what: str, bound: int) -> InputError:
    """Return the error for data whose reading needs more than the bound.

    Args:
        what: The file or folder.
        bound: In bytes.
    """
    return InputError(
        f"{what} needs more than {bound / 2**30:.2g} GB of memory to be read. Expected less: a "
        "small file that needs so much is damaged or made to do harm. If it is sound, split it, "
        f"or allow more, in GB, with {MEMORY_VARIABLE}={2 * max(1, bound // 2**30)}."
    )


@contextmanager
def memory_bounded(what: str, bound: int | None = None) -> Iterator[None]:
    """Let the block take so much more memory than is in use now, where the system can see to it.

    Args:
        what: The file or folder that is read, for the message.
        bound: In bytes; by default ``memory_bound()``.

    Raises:
        InputError: If the block needs more.
    """
    allowed = memory_bound() if bound is None else bound
    with _limited(allowed):
        try:
            yield
        except MemoryError as error:
            raise too_much_memory(what, allowed) from error


@contextmanager
def _limited(bytes_more: int) -> Iterator[None]:
    if not _LINUX:
        yield
        return
    import resource

    # What a process makes for itself; files that it maps to read them do not count.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _own_data() + bytes_more
    if resource.RLIM_INFINITY not in (soft,):
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _own_data() -> int:
    """Return what counts towards the limit already, in bytes."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds, in bytes; 0 where that cannot be told."""
    try:
        if _LINUX:
            pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        command = ["/bin/ps", "-o", "rss=", "-p", str(pid)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return int(told.stdout.strip() or 0) * 1024
    except (OSError, ValueError, IndexError):
        return 0  # it has ended, or the system does not say


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 * DEFAULT_BOUND
