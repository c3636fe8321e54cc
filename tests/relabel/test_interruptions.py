"""An interruption that somebody swallows stops the work at its next report."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from relabel.progress import Progress, keep_interruptions

STEP = Progress("working", 0, 1)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell that runs the tests in the background has told them to ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_swallowed_interruption_stops_at_the_next_report():
    before, told = signal.getsignal(signal.SIGINT), []
    with keep_interruptions(told.append) as tell:
        tell(STEP)
        with contextlib.suppress(KeyboardInterrupt):  # as compiled modules do
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            tell(STEP)
    assert told == [STEP]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_stops_at_once():
    told = []

    def work() -> None:
        with keep_interruptions(told.append) as tell:
            signal.raise_signal(signal.SIGINT)
            tell(STEP)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert told == []


def test_an_interruption_that_nobody_can_pass_on_is_not_printed(capsys):
    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        with keep_interruptions(lambda progress: None) as tell:
            Interrupted()
            tell(STEP)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert capsys.readouterr().err == ""


def test_ignored_interruptions_stay_ignored():
    before, told = signal.signal(signal.SIGINT, signal.SIG_IGN), []
    try:
        with keep_interruptions(told.append) as tell:
            signal.raise_signal(signal.SIGINT)
            tell(STEP)
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == [STEP]


def test_other_threads_are_left_alone():
    told = []

    def work() -> None:
        with keep_interruptions(told.append) as tell:
            tell(STEP)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [STEP]
