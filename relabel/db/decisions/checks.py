"""What an event of the review must be by itself, before any row of the database is looked at."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

from relabel.db.decisions.kinds import DECISION_KINDS, RELABEL, UNDO, list_codes
from relabel.db.schema import SOURCES
from relabel.errors import InvalidDecisionError, StaleDecisionError
from relabel.text import find_text_fault

# Characters of a note: a long paragraph. A note is read in a table, not as a document.
LONGEST_NOTE = 2000
# Characters of a token, which is random: a UUID has 36.
_TOKEN = re.compile(r"[0-9A-Za-z-]{16,64}")


def format_value(value: float | None) -> str:
    """Return a number as people write it: 3 for 3.0, and no digit that was not entered."""
    return "" if value is None else repr(float(value)).removesuffix(".0")


def check_action(action: str) -> None:
    """Check that the action is one that a person can take."""
    if action == UNDO.code:
        raise InvalidDecisionError("An undo needs the decision it takes back: use undo_decision.")
    choices = [kind.code for kind in DECISION_KINDS if kind != UNDO]
    if action not in choices:
        raise InvalidDecisionError(
            f"Found the action {action!r}. Expected one of {', '.join(choices)}."
        )


def check_correction(
    action: str, new_label: int | None, new_value: float | None, *, regression: bool
) -> None:
    """Check that a relabel comes with what it changes to, and nothing else does."""
    wanted, other = (new_value, new_label) if regression else (new_label, new_value)
    name, odd = ("value", "label") if regression else ("label", "value")
    if other is not None:
        raise InvalidDecisionError(
            f"The decision came with a new {odd}. Expected a new {name} at most: the project's "
            f"task is {'regression' if regression else 'classification'}."
        )
    if action in list_codes("correct") and wanted is None:
        choice = "Enter a number." if regression else "Choose a class."
        raise InvalidDecisionError(f"A relabel came without a new {name}. {choice}")
    if action not in list_codes("correct") and wanted is not None:
        raise InvalidDecisionError(
            f"The action {action!r} came with a new {name}. Expected one with "
            f"{RELABEL.code!r} only."
        )


def check_new_label(new_label: int | None, given_label: int, classes: Sequence[str]) -> None:
    """Check that a new label is a class, and another one than the given label."""
    if new_label is None:
        return
    if not 0 <= new_label < len(classes):
        raise InvalidDecisionError(
            f"Found the new label {new_label}. Expected a class index from 0 to "
            f"{len(classes) - 1}: choose one of the project's classes."
        )
    if new_label == given_label:
        raise InvalidDecisionError(
            f"The new label '{classes[new_label]}' is the given label. Expected another class; "
            "if the given label is right, keep it instead."
        )


def check_new_value(new_value: float | None, given_value: float | None) -> None:
    """Check that a new value is a finite number, and another one than the given value."""
    if new_value is None:
        return
    if not math.isfinite(new_value):
        raise InvalidDecisionError(
            f"Found the new value {new_value}. Expected a finite number: enter one."
        )
    if new_value == given_value:
        raise InvalidDecisionError(
            f"The new value {format_value(new_value)} is the given value. Expected another "
            "number; if the given value is right, keep it instead."
        )


def check_note(note: str) -> None:
    """Check that a note is not too long and can be stored."""
    if len(note) > LONGEST_NOTE:
        raise InvalidDecisionError(
            f"The note has {len(note):,} characters. Expected at most {LONGEST_NOTE:,}: shorten it."
        )
    if find_text_fault(note) is not None:
        raise InvalidDecisionError(
            "The note holds a NUL or a broken Unicode character. Expected plain text: enter it "
            "again."
        )


def check_source(source: str) -> None:
    """Check that the place where it was decided is a known one."""
    if source not in SOURCES:
        raise InvalidDecisionError(
            f"Found the source {source!r}. Expected one of {', '.join(SOURCES)}."
        )


def mark_example(created_at: datetime, key: str) -> str:
    """Return what tells an example from all others, in every database.

    Args:
        created_at: When its project was made.
        key: Its stable key in the project; "" for a mark of the project itself.
    """
    made = created_at.astimezone(UTC).isoformat(timespec="microseconds")
    return sha256(f"{made}\0{key}".encode(errors="replace")).hexdigest()[:24]


def check_mark(mark: str | None, created_at: datetime, key: str) -> None:
    """Check that a press was about this example, or this project.

    Raises:
        StaleDecisionError: If it was about another one of the same number.
    """
    if mark is not None and mark != mark_example(created_at, key):
        raise StaleDecisionError(
            "The screen showed an example of another project or workspace, which had this number "
            "there. Nothing was recorded. Decide where that project is served."
        )


def check_token(token: str | None) -> None:
    """Check that a token is long enough to be random, and short enough to be kept."""
    if token is not None and not _TOKEN.fullmatch(token):
        raise InvalidDecisionError(
            f"Found the token {token!r:.80}. Expected 16 to 64 letters, digits and hyphens."
        )


def check_numbers(seconds_spent: float | None, rank: int | None, score: float | None) -> None:
    """Check that the circumstances of a decision are possible numbers."""
    if seconds_spent is not None and not (math.isfinite(seconds_spent) and seconds_spent >= 0):
        raise InvalidDecisionError(f"Found {seconds_spent} seconds spent. Expected 0 or more.")
    if rank is not None and rank < 1:
        raise InvalidDecisionError(f"Found the rank {rank}. Expected 1 or more.")
    if score is not None and not math.isfinite(score):
        raise InvalidDecisionError(f"Found the score {score}. Expected a finite number.")
