"""Room for pixels being decoded, shared by all threads of a process.

A picture of 50 million pixels takes up to 1.6 GB while it is decoded. A server answers forty
requests at once, and an import looks at four pictures at once: without a bound together they would
take more than the machine has. Small pictures never wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Pixels decoded at the same time: one picture of the largest size, or many small ones.
ROOM = 50_000_000


class DecodingRoom:
    """A number of pixels that are given out and given back."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels are free, and hold them; more than all count as all."""
        wanted = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


DECODING = DecodingRoom(ROOM)
