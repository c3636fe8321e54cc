"""Run cases one by one, and see what each of them came to."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.changes import NAMES
from tracin_core.errors import TracInError

SEED = 20240601
# For one case; the slowest sound ones take a second on a busy machine.
SECONDS = 30
# Folders that the cases may write to: the workspace, their data, and the system's temporary files.
INSIDE = ("work", "data", "tmp")
LIMIT = 3_000_000_000  # bytes of address space; the numerical libraries alone reserve a third


class TookTooLongError(BaseException):
    """A case that ran past its time; no `except Exception` catches it."""


@dataclass
class Figures:
    """What became of the cases.

    Attributes:
        part: What was tried.
        accepted, refused: How many were taken, or told in words what is wrong.
        kinds: The same by what was changed.
        faults: What must not be, with the number of the case.
        messages: Different refusals.
        seconds: Time for all.
        peak: Most memory, in bytes.
    """

    part: str
    accepted: int = 0
    refused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    messages: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        return {**vars(self), "kinds": dict(self.kinds), "messages": len(self.messages)}


def limit_memory() -> None:
    """Let this process have so much and no more: what asks for it all fails alone."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


def draw_for(part: str, number: int) -> random.Random:
    """Return the choices of one case; the same in every run."""
    return random.Random(f"{SEED} {part} {number}")


def watch(part: str, cases: range, run: Callable[[int], str], root: Path) -> Figures:
    """Run cases and count.

    Args:
        part: What is tried.
        cases: Numbers of the cases.
        run: Runs one and returns its kind; a `TracInError` is a refusal.
        root: Folder around all that is written, with ``INSIDE`` for what may be.

    Returns:
        The figures; a fault for every other exception, for a case that takes too long, and for
        anything written outside.
    """
    figures, began, before = Figures(part), time.monotonic(), list_outside(root)
    for number in cases:
        try:
            with time_limit(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figures.kinds[run(number)] += 1
            figures.accepted += 1
        except TracInError as error:
            figures.refused += 1
            figures.messages[str(error)[:60]] += 1
            if not str(error).strip():
                figures.faults.append(f"{part} {number}: refused without a word")
        except TookTooLongError:
            figures.faults.append(f"{part} {number}: took more than {SECONDS} seconds")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            figures.faults.append(
                f"{part} {number}: {type(error).__name__}: {str(error)[:200]} "
                f"({Path(place.filename).name}:{place.lineno} {place.name})"
            )
        if list_outside(root) != before:
            figures.faults.append(f"{part} {number}: wrote outside the workspace")
            before = list_outside(root)
    figures.seconds = round(time.monotonic() - began, 1)
    figures.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return figures


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `TookTooLongError` when the time is over."""

    def stop(*_: object) -> None:
        raise TookTooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def list_outside(root: Path) -> list[tuple[str, int]]:
    """Return what there is in a folder with sizes, without what may be written."""
    found = []
    for folder, folders, files in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in INSIDE]
        for name in [*folders, *files]:
            path = Path(folder, name)
            found.append((str(path), path.lstat().st_size if name in files else 0))
    found += [(name, 0) for name in NAMES if Path(name).is_absolute() and Path(name).exists()]
    return sorted(found)


def list_left(root: Path) -> list[str]:
    """Return temporary files that were left, and what lies in the workspace and is not of it."""
    left = [f"tmp/{path.name}" for path in (root / "tmp").iterdir()]
    own = ("projects", "jobs", "tracin.db")
    return left + [p.name for p in (root / "work").iterdir() if not p.name.startswith(own)]
