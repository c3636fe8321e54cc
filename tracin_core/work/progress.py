"""How long work tells a terminal or a page how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report.

    Attributes:
        stage: What is being done, as a person would say it.
        done: Units of the stage that are finished.
        total: Units that the stage has; ``done == total`` ends it.
    """

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def ignore_progress(report: Progress) -> None:
    """Take a report and do nothing with it."""
