"""Counts how often a file is opened, by whatever process and by whatever library."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# From Linux' inotify.h.
_ACCESS, _CLOSE_NOWRITE, _OPEN = 0x1, 0x10, 0x20
_EVENT = struct.Struct("iIII")


class Opens:
    """How often a file was opened.

    Attributes:
        count: So far; complete when the block has ended.
    """

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def counted_opens(path: Path) -> Iterator[Opens]:
    """Count the openings of a file within the block.

    The system tells them (Linux only), so that those of C++ code and of other processes count like
    Python's own. It takes two that follow each other for one if nothing is read between: reads
    and closings are watched, too, and told openings are collected all the time.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init1(os.O_CLOEXEC)
    stop, stopper = os.pipe()
    if (
        queue < 0
        or libc.inotify_add_watch(queue, bytes(path), _ACCESS | _CLOSE_NOWRITE | _OPEN) < 0
    ):
        raise OSError(ctypes.get_errno(), "inotify does not watch")
    opens = Opens()
    reader = threading.Thread(target=_collect, args=(queue, stop, opens))
    reader.start()
    try:
        yield opens
    finally:
        os.close(stopper)
        reader.join()
        os.close(queue)
        os.close(stop)


def _collect(queue: int, stop: int, opens: Opens) -> None:
    """Count until the other end of ``stop`` is closed, and what is in the queue by then."""
    import select

    while True:
        ready = select.select([queue, stop], [], [])[0]
        if queue in ready:
            events = os.read(queue, 1 << 16)
            place = 0
            while place < len(events):
                _, mask, _, length = _EVENT.unpack_from(events, place)
                opens.count += bool(mask & _OPEN)
                place += _EVENT.size + length
        elif stop in ready:
            return
