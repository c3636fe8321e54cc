"""Recording what a person decides, and guarding against deciding what was never shown.

A browser can send a press for a button that the server has already replaced, and draws the parts
of a page one after the other. So every press names an example and a version; one for anything
but the example on the screen is ignored, and the database refuses a version that is not the
current one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from relabel.db.decisions import (
    NewDecision,
    get_decision,
    last_undoable,
    record_decision,
    undo_decision,
)
from relabel.db.examples import ExampleView
from relabel.db.queue import describe_since
from relabel.errors import StaleDecisionError
from tracin_core.errors import TracInError
from ui.session import get_engine, identity_source, reviewer_name
from ui.wording import escape_markdown

_SHOWN = "decision-shown"
_MESSAGE = "decision-message"
_RETURN_TO = "decision-return-to"
_UNDOABLE = "decision-undoable"  # the decision that the screen offers to take back
_TOLD = "decision-told"  # the example and version of which the message speaks already


@dataclass(frozen=True, kw_only=True)
class DisplayedExample:
    """The example that the form on the screen is about.

    Attributes:
        example_id: Its number.
        version: Number of events it had when it was drawn.
        source: Where it came from: ``queue`` or ``inspect``.
        rank: Its place in the queue, 1 the most suspect.
        score: Its score there.
        run_id: The run that ranked it.
        since: When it came on the screen, in seconds of a monotonic clock.
    """

    example_id: int
    version: int
    source: str
    rank: int | None
    score: float | None
    run_id: int | None
    since: float


@dataclass(frozen=True, kw_only=True)
class DecisionRequest:
    """What a button or a key stands for.

    Attributes:
        action: As the database names it.
        new_label: Class index, for a relabel.
        new_value: Number, for a relabel of a regression.
        sentence: What has been done, for the message that follows.
    """

    action: str
    new_label: int | None = None
    new_value: float | None = None
    sentence: str


def remember_shown(
    view: ExampleView, *, run_id: int, source: str, rank: int | None, score: float | None
) -> None:
    """Note which example this run of the page puts on the screen, and since when."""
    shown: DisplayedExample | None = st.session_state.get(_SHOWN)
    since = time.monotonic()
    if shown is not None and (shown.example_id, shown.version) == (view.id, view.version):
        since = shown.since  # drawn again, not shown anew
    st.session_state[_SHOWN] = DisplayedExample(
        example_id=view.id,
        version=view.version,
        source=source,
        rank=rank,
        score=score,
        run_id=run_id,
        since=since,
    )


def note_key(example_id: int, version: int) -> str:
    """Return the widget key of the note that belongs to an example and version."""
    return f"note-{example_id}-{version}"


def decide(example_id: int, version: int, verdict: DecisionRequest) -> None:
    """Record a press, if it is for the example on the screen."""
    shown: DisplayedExample | None = st.session_state.get(_SHOWN)
    if shown is None or (shown.example_id, shown.version) != (example_id, version):
        return
    note = str(st.session_state.get(note_key(example_id, version)) or "").strip()
    decision = NewDecision(
        example_id=example_id,
        expected_version=version,
        reviewer=reviewer_name(),
        action=verdict.action,
        new_label=verdict.new_label,
        new_value=verdict.new_value,
        note=note,
        seconds_spent=round(time.monotonic() - shown.since, 3),
        source=shown.source,
        rank=shown.rank,
        score=shown.score,
        run_id=shown.run_id,
        identity_source=identity_source(),
    )
    try:
        event = record_decision(get_engine(), decision)
    except StaleDecisionError as error:
        # Someone else was faster: their decision stands, and the screen moves on.
        st.session_state[_SHOWN] = None
        st.session_state[_TOLD] = (example_id, version)
        # What was typed is not lost with the press.
        _set_message("warning", f"{error} Your note was: “{note}”" if note else str(error))
    except TracInError as error:
        _set_message("error", f"Not recorded. {error}")
    else:
        st.session_state[_SHOWN] = None
        st.session_state[_TOLD] = (example_id, version)
        st.session_state[_UNDOABLE] = event.id
        _set_message("done", f"Recorded: {verdict.sentence}.")


def refuse(reason: str) -> None:
    """Describe why what was typed is no decision; the example stays on the screen."""
    _set_message("warning", reason)


def explain_idle(reason: str) -> None:
    """Describe why a key does nothing, in the quiet line for it: nothing went wrong."""
    _set_message("done", reason)


def offer_undo(project_id: int) -> int | None:
    """Return this reviewer's newest decision in force, for the screen to offer to take it back.

    A press takes back what was offered: others may decide, or decide under the same name, between
    the drawing and the press.
    """
    last = last_undoable(get_engine(), project_id, reviewer_name())
    st.session_state[_UNDOABLE] = None if last is None else last.id
    return None if last is None else last.id


def undo_last(project_id: int) -> None:
    """Take back the decision that the screen offers, and bring its example back on the screen."""
    decision_id: int | None = st.session_state.get(_UNDOABLE)
    if decision_id is None:
        _set_message("done", "There is nothing to undo.")
    else:
        undo(decision_id, source="queue")
        offer_undo(project_id)  # the next press may come before the next drawing


def undo_shown(project_id: int, decision_id: int) -> None:
    """Take back the decision that a button names; a double click is one.

    Args:
        project_id: The project.
        decision_id: The decision that the button was drawn for.
    """
    if st.session_state.get(_UNDOABLE) == decision_id:
        undo_last(project_id)


def undo(decision_id: int, *, source: str) -> None:
    """Take back one decision; if it is no longer the one in force, say so."""
    try:
        event = undo_decision(
            get_engine(),
            decision_id,
            reviewer=reviewer_name(),
            source=source,
            identity_source=identity_source(),
        )
    except TracInError as error:
        _set_message("warning", str(error))
        return
    if source == "queue":
        st.session_state[_RETURN_TO] = (event.example_id, event.version)
        st.session_state[_SHOWN] = None
        undone = get_decision(get_engine(), decision_id)
        # What was written about the example belongs to its next decision as well.
        st.session_state[note_key(event.example_id, event.version)] = undone.note
        brought = "The example and its note are" if undone.note else "The example is"
        _set_message("done", f"Taken back. {brought} here again.")
    else:
        _set_message("done", "Taken back. The event and its undo both stay in the list.")


def take_return() -> tuple[int, int] | None:
    """Return the example that an undo brought back and the version it has since, once."""
    returned: tuple[int, int] | None = st.session_state.pop(_RETURN_TO, None)
    return returned


def report_decided_meanwhile(view: ExampleView, version: int) -> None:
    """Describe who has decided about an example that was to stay on the screen, unless it was said.

    Args:
        view: The example as it is now.
        version: The version that it was shown with.
    """
    if st.session_state.get(_TOLD) == (view.id, version):
        return
    st.session_state[_TOLD] = (view.id, version)
    told = describe_since(get_engine(), view, version)
    _set_message("warning", f"Meanwhile {told}. The queue goes on with the next suspect.")


def _set_message(kind: str, text: str) -> None:
    st.session_state[_MESSAGE] = (kind, text)


def draw_message() -> None:
    """Show what the last press did; it stays until the next one."""
    kind, text = st.session_state.get(_MESSAGE) or ("", "")
    # The line keeps its place while it is empty, so that nothing jumps under a hand.
    shown = escape_markdown(text) or "&nbsp;"
    if kind == "warning":
        st.warning(shown)
    elif kind == "error":
        st.error(shown)
    else:
        st.caption(shown)
