"""Output in the terminal: tables on stdout; progress, warnings and questions on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table

from relabel.progress import OnProgress, Progress
from tracin_core.errors import ConfigurationError

WIDTH_IN_FILES = 160  # columns: a file has no width of its own, and must cut nothing off


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough for everything in a file."""
    Console(width=None if sys.stdout.isatty() else WIDTH_IN_FILES).print(table)


def print_warning(warning: str) -> None:
    """Print a warning to stderr: what reads the answer must not stumble on it."""
    print(f"Warning: {warning}", file=sys.stderr)


def confirm(question: str, option: str) -> bool:
    """Return the answer to a question of yes or no; no by default.

    Args:
        question: What is asked.
        option: What a script says instead, such as "--yes".

    Raises:
        ConfigurationError: If nobody can be asked.
    """
    return ask(f"{question} [y/N] ", option).strip().lower() in ("y", "yes")


def ask(question: str, option: str) -> str:
    """Return the answer to a question, "" where there is none.

    Raises:
        ConfigurationError: If nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"This needs an answer: {question.strip()} Expected a person at the terminal; in a "
            f"script, say {option}."
        )
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n")


@contextmanager
def show_progress(project: str) -> Iterator[OnProgress]:
    """Yield a function that shows each report: moving bars for a person, lines for a log file.

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
