"""The type of a progress report, and Ctrl-C during long work.

Whatever takes long calls an ``OnProgress`` with a ``Progress``; a terminal draws it, a job stores
it, and a cancellation is raised inside that call. Some libraries swallow the KeyboardInterrupt of
a Ctrl-C, so the next report raises it again.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(frozen=True)
class Progress:
    """One report.

    Attributes:
        stage: What is being done, as a person would say it.
        done: Units of the stage that are finished.
        total: Units that the stage has; ``done == total`` ends it.
        detail: What else is to be said just now, such as how many workers there are.
    """

    stage: str
    done: int
    total: int
    detail: str = ""


OnProgress = Callable[[Progress], None]


def ignore_progress(report: Progress) -> None:
    """Take a report and do nothing with it."""


@contextmanager
def keep_interruptions(on_progress: OnProgress) -> Iterator[OnProgress]:
    """Yield what is to be told about progress instead, while Ctrl-C is watched.

    Compiled modules swallow an interruption while they are imported, which takes seconds for
    torch: the work stops at its next report then. Only a process's main thread is interrupted;
    elsewhere, and where interruptions are ignored, nothing changes.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not is_main or before is signal.SIG_IGN:
        yield on_progress
        return
    was_interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal was_interrupted
        was_interrupted = True
        raise KeyboardInterrupt

    def tell(progress: Progress) -> None:
        if was_interrupted:
            raise KeyboardInterrupt
        on_progress(progress)

    tell_ignored = sys.unraisablehook

    def keep_quiet(ignored: sys.UnraisableHookArgs) -> None:
        # Where one cannot be passed on, Python prints it and goes on; it is not lost, and no bug.
        if ignored.exc_type is not KeyboardInterrupt:
            tell_ignored(ignored)

    signal.signal(signal.SIGINT, note)
    sys.unraisablehook = keep_quiet
    try:
        yield tell
    finally:
        sys.unraisablehook = tell_ignored
        signal.signal(signal.SIGINT, before)
