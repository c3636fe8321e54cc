"""What a piece of work takes: processor time, and memory beyond what the process holds anyway."""

from __future__ import annotations

import gc
import os
import threading
import time
from types import TracebackType
from typing import Self

from relabel.sandbox import resident_bytes

_INTERVAL = 0.02  # seconds between two looks; what comes and goes faster is missed


class Meter:
    """Measures what happens inside its ``with`` block.

    Attributes:
        seconds: Processor time of all threads, user and system; known after the block.
        peak_bytes: The most that the process held beyond what it held before; memory that earlier
            work has freed without giving it back is used again unseen. None where the system does
            not tell. Nor is the memory of a graphics card in it.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_bytes: int | None = None

    def __enter__(self) -> Self:
        """Begin, with as little garbage as there can be."""
        gc.collect()
        self._ended = threading.Event()
        self._before = self._most = resident_bytes(os.getpid())
        self._watch = threading.Thread(target=self._look, name="memory-watch", daemon=True)
        self._watch.start()
        self._begun = time.process_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, whatever happened inside."""
        self.seconds = time.process_time() - self._begun
        self._ended.set()
        self._watch.join()
        self._most = max(self._most, resident_bytes(os.getpid()))
        self.peak_bytes = self._most - self._before if self._before else None

    def _look(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._most = max(self._most, resident_bytes(os.getpid()))
