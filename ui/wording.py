"""The words of the screen, one place for all pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tracin_core.numerals import describe_seconds
from tracin_core.reviews.decision_kinds import DECISION_KINDS, PENDING
from tracin_core.texts import shorten
from ui.plain_text import isolate

_NAME_LENGTH = 60  # characters of a class name

STATUS_WORDS = {PENDING: "To review"} | {
    kind.state: kind.state_title for kind in DECISION_KINDS if kind.state
}
ACTION_WORDS = {kind.code: kind.title for kind in DECISION_KINDS}

KIND_WORDS = {"image": "Images", "text": "Texts", "table": "Table"}

SPLIT_WORDS = {"train": "Train", "test": "Test"}


def class_name(classes: Sequence[str], label: int | None) -> str:
    """Return a class's name as a screen has room for it, or a dash where there is no label."""
    return "–" if label is None else isolate(shorten(classes[label], _NAME_LENGTH))


def percent(fraction: float | None) -> str:
    """Return a probability as a whole percentage, never rounded to an untrue 0% or 100%."""
    if fraction is None:
        return "–"
    if 0 < fraction < 0.005:
        return "<1%"
    if 0.995 <= fraction < 1:
        return ">99%"
    return f"{fraction:.0%}"


def score_text(value: float) -> str:
    """Return a score with three significant digits, in plain notation where it can be read."""
    size = abs(value)
    if 1000 <= size < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value == 0 or 1e-3 <= size < 1000 else f"{value:.2e}"


def time_left(seconds: float | None) -> str:
    """Return how long something still takes, roughly, or nothing where it is not known."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 2:
        return "almost done"
    # Whole seconds: a decimal that changes every second only makes the line restless.
    left = f"{seconds:.0f} s" if seconds < 90 else describe_seconds(seconds)
    return f"about {left} left"


def moment_text(moment: datetime) -> str:
    """Return a point in time as the clock of this machine shows it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
