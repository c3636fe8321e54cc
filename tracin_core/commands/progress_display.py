"""Progress on stderr: moving bars for a person, plain lines for a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tracin_core.work.progress import OnProgress, Progress


@contextmanager
def show_progress(project: str) -> Iterator[OnProgress]:
    """Yield a function that shows each report it is given.

    Args:
        project: Name that stands before each stage.
    """
    if sys.stderr.isatty():
        with _show_bars(project) as report:
            yield report
    else:
        yield _PlainLines(project)


class _PlainLines:
    """One line when a stage begins and one, with its seconds, when it ends."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._started: dict[str, float] = {}

    def __call__(self, report: Progress) -> None:
        ends = report.done >= report.total > 0
        if report.stage not in self._started and not ends:
            self._started[report.stage] = time.monotonic()
            print(f"{self._project}: {report.stage} ...", file=sys.stderr, flush=True)
        elif report.stage in self._started and ends:
            # A stage may come again, with a time of its own.
            seconds = time.monotonic() - self._started.pop(report.stage)
            line = f"{self._project}: {report.stage}, {seconds:.1f} s"
            print(line, file=sys.stderr, flush=True)


@contextmanager
def _show_bars(project: str) -> Iterator[OnProgress]:
    from rich import progress as rich_progress
    from rich.console import Console

    bars = rich_progress.Progress(
        rich_progress.TextColumn("{task.description:<32}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, rich_progress.TaskID] = {}

    def report_progress(report: Progress) -> None:
        if report.stage not in tasks:
            tasks[report.stage] = bars.add_task(f"{project}: {report.stage}", total=report.total)
        bars.update(tasks[report.stage], completed=report.done, total=report.total)

    with bars:
        yield report_progress
