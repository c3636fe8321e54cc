"""Recording what a person decides, and guarding against deciding what was never shown.

A screen sends its presses in their order, each with the example and the version that stood there
and a token of its own. What it hears no answer to it sends again: the token makes that harmless.
The database refuses a version that is not the current one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from relabel.db.decisions.audit import NOTHING_SHOWN, Shown
from relabel.db.decisions.checks import check_mark
from relabel.db.decisions.kinds import KEEP, RELABEL, UNDO, find_kind
from relabel.db.decisions.recording import (
    Decision,
    NewDecision,
    find_by_token,
    get_decision,
    record_decision,
    undo_decision,
)
from relabel.db.examples import get_example
from relabel.db.project_rules import Project
from relabel.db.team.audits import SOURCE, is_of_audit
from relabel.db.team.opinions import Opinion, record_opinion, undo_opinion
from relabel.db.team.reviewers import Identity
from relabel.errors import DatabaseError, InvalidDecisionError, NotFoundError, StaleDecisionError
from tracin_core.errors import TracInError
from ui.identity import find_sender
from ui.labels import name_label
from ui.session import current_reviewer, get_engine
from ui.wording import escape_markdown, read_number

_LOG = logging.getLogger(__name__)
_MESSAGE = "decision-message"


@dataclass(frozen=True, kw_only=True)
class Press:
    """One decision or undo as a screen sends it.

    Attributes:
        token: Random; a press that is sent twice is recorded once.
        action: As the database names it.
        example_id: The example that was on the screen; of an undo 0.
        version: Number of events that it had there.
        new_label: Class index, for a relabel.
        new_value: Number, for a relabel of a regression.
        typed: What was typed for a number; takes the place of action and new value.
        note: What was written about it.
        seconds: From its appearance to the press.
        rank: Its place in the queue, 1 the most suspect.
        score: Its score there.
        run_id: The run that ranked it.
        reviewer: The name to record; "" for whom the server was started for.
        look: The decision that this is a second opinion on; None for a decision.
        mark: Tells the example from all others; of an undo, the project.
        undoes: Token of the press that an undo takes back, or None.
        decision_id: Number of the decision that it takes back, where no token is known.
        shown: The ranking and the suggestion that were on the screen.
        ticket: By which an answer to an audit's item is known; any other text else.
    """

    token: str
    action: str
    example_id: int = 0
    version: int = 0
    new_label: int | None = None
    new_value: float | None = None
    typed: str | None = None
    note: str = ""
    seconds: float | None = None
    rank: int | None = None
    score: float | None = None
    run_id: int | None = None
    reviewer: str = ""
    mark: str = ""
    undoes: str | None = None
    decision_id: int | None = None
    look: int | None = None
    shown: Shown = NOTHING_SHOWN
    ticket: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a press.

    Attributes:
        token: Of the press.
        recorded: Whether it is in the database.
        message: What has been done, or why nothing was.
        is_fault: Whether something failed, rather than somebody having been faster.
        example_id: The example it is about; None where that is not known.
        version: The version that the event made.
        note: Of an undo, what had been written about the example.
    """

    token: str
    recorded: bool
    message: str
    is_fault: bool = False
    example_id: int | None = None
    version: int | None = None
    note: str = ""


def apply_presses(
    project: Project, presses: Sequence[Press], signed_in: Identity | None = None
) -> list[Outcome]:
    """Record presses one after the other, and say of each what became of it.

    Where the database fails, the rest is not tried: it would be refused for the same reason, each
    after the same wait.

    Args:
        project: The project.
        presses: In their order.
        signed_in: Who has signed in, where people have to; else the presses' own names count.
    """
    outcomes: list[Outcome] = []
    stopped = ""
    for press in presses:
        outcome = _refuse(press, stopped, is_fault=True) if stopped else None
        if outcome is None:
            try:
                outcome = _apply(project, press, find_sender(press.reviewer, signed_in))
            except StaleDecisionError as error:
                outcome = _refuse(press, _with_note(str(error), press.note))
            except TracInError as error:
                words = f"Not recorded. {error}"
                outcome = _refuse(press, words, is_fault=True)
                stopped = words if isinstance(error, DatabaseError) else ""
            except Exception as error:
                _LOG.error("A decision could not be recorded; this is a bug.", exc_info=error)
                words = (
                    "Not recorded. Something unforeseen went wrong; the terminal that the app runs "
                    "in has the details."
                )
                outcome = _refuse(press, words, is_fault=True)
        outcomes.append(outcome)
    return outcomes


def _refuse(press: Press, message: str, *, is_fault: bool = False) -> Outcome:
    return Outcome(
        token=press.token,
        recorded=False,
        message=message,
        is_fault=is_fault,
        example_id=press.example_id or None,
    )


def _with_note(words: str, note: str) -> str:
    """Return words with the note of a press that was not recorded: it is not lost with it."""
    return f"{words} Your note was: “{note}”" if note.strip() else words


def _apply(project: Project, press: Press, who: Identity) -> Outcome:
    if press.action == UNDO.code:
        check_mark(press.mark, project.created_at, "")
        return _undo_press(press, who)
    action, new_value = press.action, press.new_value
    if press.typed is not None:
        action, new_value = read_correction(press)
    new = NewDecision(
        example_id=press.example_id,
        expected_version=press.version,
        reviewer=who.name,
        action=action,
        new_label=press.new_label,
        new_value=new_value,
        note=press.note.strip(),
        seconds_spent=press.seconds,
        source=_find_source(project, press),
        rank=press.rank,
        score=press.score,
        run_id=press.run_id,
        identity_source=who.source,
        token=press.token,
        mark=press.mark,
        shown=press.shown,
    )
    event: Decision | Opinion
    if press.look is None:
        event = record_decision(get_engine(), new)
    else:
        event = record_opinion(get_engine(), new, press.look)
    return Outcome(
        token=press.token,
        recorded=True,
        message=f"Recorded: {describe_event(project, event)}.",
        example_id=event.example_id,
        version=event.version,
    )


def _find_source(project: Project, press: Press) -> str:
    """Return where a decision was made: at an item of the audit, or in the queue."""
    is_audit = is_of_audit(get_engine(), project.id, press.example_id, press.ticket)
    return SOURCE if is_audit else "queue"


def read_correction(press: Press) -> tuple[str, float | None]:
    """Return the action and the number of a press for which a number was typed.

    Raises:
        InvalidDecisionError: If it is none.
        NotFoundError: If there is no such example.
    """
    typed = press.typed or ""
    value = read_number(typed)
    if value is None or not math.isfinite(value):
        shown = typed.strip()[:40]
        raise InvalidDecisionError(f"“{shown}” is no number. Type one such as 12500 or -3.5.")
    given = get_example(get_engine(), press.example_id, None).given_value
    return (KEEP.code, None) if value == given else (RELABEL.code, value)


def describe_event(project: Project, event: Decision | Opinion) -> str:
    """Return what has been done, as the message after a press says it."""
    given = name_label(project, event.given_label, event.given_value)
    if event.new_value is not None:
        return f"{given} changed to {name_label(project, None, event.new_value)}"
    new = name_label(project, event.new_label, None) if event.new_label is not None else ""
    return find_kind(event.action).recorded.format(given=given, new=new)


def _undo_press(press: Press, who: Identity) -> Outcome:
    engine = get_engine()
    undone = None
    if press.undoes is not None:
        undone = find_by_token(engine, press.undoes)
    elif press.decision_id is not None:
        undone = get_decision(engine, press.decision_id)
    if undone is None and press.undoes is not None:
        opinion = undo_opinion(
            engine,
            press.undoes,
            reviewer=who.name,
            identity_source=who.source,
            own_token=press.token,
        )
        if opinion is not None:
            return _tell_taken_back(press, opinion, opinion.version)
    if undone is None:
        raise NotFoundError("The decision had not been recorded, so there is nothing to take back.")
    event = undo_decision(
        engine,
        undone.id,
        reviewer=who.name,
        source="queue",
        identity_source=who.source,
        token=press.token,
    )
    return _tell_taken_back(press, undone, event.version)


def _tell_taken_back(press: Press, undone: Decision | Opinion, version: int) -> Outcome:
    brought = "The example and its note are" if undone.note else "The example is"
    return Outcome(
        token=press.token,
        recorded=True,
        message=f"Taken back. {brought} here again.",
        example_id=undone.example_id,
        version=version,
        note=undone.note,
    )


def undo(decision_id: int, *, source: str) -> None:
    """Take back one decision; if it is no longer the one in force, say so."""
    who = current_reviewer()
    try:
        undo_decision(
            get_engine(),
            decision_id,
            reviewer=who.name,
            source=source,
            identity_source=who.source,
        )
    except TracInError as error:
        st.session_state[_MESSAGE] = ("warning", str(error))
    else:
        words = "Taken back. The event and its undo both stay in the list."
        st.session_state[_MESSAGE] = ("done", words)


def draw_message() -> None:
    """Show what the last press did; it stays until the next one."""
    kind, text = st.session_state.get(_MESSAGE) or ("", "")
    # The line keeps its place while it is empty, so that nothing jumps under a hand.
    shown = escape_markdown(text) or "&nbsp;"
    if kind == "warning":
        st.warning(shown)
    else:
        st.caption(shown)
