"""The decision form: keys, buttons, and the guard against deciding what was never shown.

A browser can send a key press for a button that the server has already replaced: measured, one
press in five then landed on the next example. So every button carries its example's id and
version in its key and in its arguments, a press for any other example than the one shown is
ignored, and the database refuses a version that is no longer the current one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from tracin_core.errors import StaleDecisionError, TracInError
from tracin_core.reviews.decisions import (
    NewDecision,
    last_undoable,
    record_decision,
    undo_decision,
)
from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.projects import Project
from ui.components.keyboard import focus_field_on_key
from ui.plain_text import escape_markdown, shorten
from ui.session import get_engine, identity_source, reviewer_name
from ui.wording import class_name

MAX_DIGIT_CLASSES = 10
NOTE_LABEL = "Note"
_SHOWN = "decision-shown"
_MESSAGE = "decision-message"
_UNDONE = "decision-undone"
_RETURN_TO = "decision-return-to"
_NAME_LENGTH = 28  # characters of a class name on a button


@dataclass(frozen=True, kw_only=True)
class Shown:
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


def class_keys(classes: tuple[str, ...]) -> list[str]:
    """Return the key of each class, in order, for at most ten classes.

    Classes named by one digit each have their own; others count from 1, and the tenth has 0.
    """
    if all(len(name) == 1 and name.isdecimal() and name.isascii() for name in classes):
        return list(classes)
    return [str((index + 1) % 10) for index in range(min(len(classes), MAX_DIGIT_CLASSES))]


def draw_form(
    project: Project,
    view: ExampleView,
    *,
    run_id: int,
    source: str,
    rank: int | None,
    score: float | None,
    keys: bool = True,
) -> None:
    """Draw the form for one example and remember that it is the one on the screen.

    Args:
        project: Its classes are the choices.
        view: The example, as read in this run of the page.
        run_id: The run that ranked it.
        source: Where it came from.
        rank: Its place in the queue.
        score: Its score there.
        keys: Whether the buttons have keyboard shortcuts.
    """
    _remember(view, run_id=run_id, source=source, rank=rank, score=score)
    mark = f"{view.id}-{view.version}"
    _draw_verdicts(project, view, mark, keys)
    _draw_classes(project, view, mark, keys)
    st.text_input(
        NOTE_LABEL,
        key=f"note-{mark}",
        max_chars=500,
        placeholder="Optional; press N to write, Enter to finish",
    )
    if keys:
        focus_field_on_key(NOTE_LABEL, key=f"note-key-{mark}", shortcut="n")


def _remember(
    view: ExampleView, *, run_id: int, source: str, rank: int | None, score: float | None
) -> None:
    shown: Shown | None = st.session_state.get(_SHOWN)
    since = time.monotonic()
    if shown is not None and (shown.example_id, shown.version) == (view.id, view.version):
        since = shown.since  # drawn again, not shown anew
    st.session_state[_SHOWN] = Shown(
        example_id=view.id,
        version=view.version,
        source=source,
        rank=rank,
        score=score,
        run_id=run_id,
        since=since,
    )


def _draw_verdicts(project: Project, view: ExampleView, mark: str, keys: bool) -> None:
    given = class_name(project.classes, view.given_label)
    kept = f"{given} kept"
    predicted = view.predicted_label
    with st.container(horizontal=True, gap="small"):
        _button(
            "Keep", f"keep-{mark}", "K" if keys else None, view, "keep", sentence=kept, primary=True
        )
        if predicted is not None and predicted != view.given_label:
            name = project.classes[predicted]
            _button(
                f"Model’s: {escape_markdown(shorten(name, _NAME_LENGTH))}",
                f"model-{mark}",
                "M" if keys else None,
                view,
                "relabel",
                predicted,
                sentence=f"{given} relabelled to {name}",
            )
        for label, key, action, sentence in (
            ("Exclude", "X", "exclude", f"{given} excluded"),
            ("Ambiguous", "A", "ambiguous", f"{given} marked ambiguous"),
            ("Skip", "S", "skip", "skipped"),
        ):
            if action == "skip" and view.status not in ("pending", "skipped"):
                continue
            _button(
                label, f"{action}-{mark}", key if keys else None, view, action, sentence=sentence
            )


def _draw_classes(project: Project, view: ExampleView, mark: str, keys: bool) -> None:
    st.caption("Relabel")
    if len(project.classes) > MAX_DIGIT_CLASSES:
        _draw_class_search(project, view, mark)
        return
    given = class_name(project.classes, view.given_label)
    shortcuts = class_keys(project.classes)
    with st.container(horizontal=True, gap="small"):
        for label, name in enumerate(project.classes):
            text = escape_markdown(shorten(name, _NAME_LENGTH))
            is_given = label == view.given_label
            # The given label's button keeps it: that is what pressing its digit means.
            _button(
                f"{text} (given)" if is_given else text,
                f"class-{label}-{mark}",
                shortcuts[label] if keys else None,
                view,
                "keep" if is_given else "relabel",
                None if is_given else label,
                sentence=f"{given} kept" if is_given else f"{given} relabelled to {name}",
            )


def _draw_class_search(project: Project, view: ExampleView, mark: str) -> None:
    given = class_name(project.classes, view.given_label)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = st.selectbox(
            "Class",
            [index for index in range(len(project.classes)) if index != view.given_label],
            format_func=lambda index: project.classes[index],
            index=None,
            placeholder="Type to search a class",
            key=f"class-search-{mark}",
            width=320,
        )
        _button(
            "Relabel",
            f"relabel-{mark}",
            None,
            view,
            "relabel",
            label,
            sentence=f"{given} relabelled to {class_name(project.classes, label)}",
            disabled=label is None,
        )


def _button(
    label: str,
    key: str,
    shortcut: str | None,
    view: ExampleView,
    action: str,
    new_label: int | None = None,
    *,
    sentence: str = "",
    primary: bool = False,
    disabled: bool = False,
) -> None:
    st.button(
        label,
        key=key,
        shortcut=shortcut,
        type="primary" if primary else "secondary",
        on_click=_decide,
        args=(view.id, view.version, action, new_label, sentence),
        disabled=disabled,
    )


def _decide(
    example_id: int, version: int, action: str, new_label: int | None, sentence: str
) -> None:
    """Record a press, if it is for the example on the screen."""
    shown = st.session_state.get(_SHOWN)
    if shown is None or (shown.example_id, shown.version) != (example_id, version):
        return
    note = str(st.session_state.get(f"note-{example_id}-{version}") or "").strip()
    try:
        record_decision(
            get_engine(),
            NewDecision(
                example_id=example_id,
                expected_version=version,
                reviewer=reviewer_name(),
                action=action,
                new_label=new_label,
                note=note,
                seconds_spent=round(time.monotonic() - shown.since, 3),
                source=shown.source,
                rank=shown.rank,
                score=shown.score,
                run_id=shown.run_id,
                identity_source=identity_source(),
            ),
        )
    except StaleDecisionError as error:
        # Someone else was faster: their decision stands, and the screen moves on.
        st.session_state[_SHOWN] = None
        _say("warning", str(error))
        return
    except TracInError as error:
        _say("error", f"Not recorded. {error}")
        return
    st.session_state[_SHOWN] = None
    _say("done", f"Recorded: {sentence}.")


def draw_undo(project: Project, *, keys: bool = True) -> None:
    """Draw the button that takes back this reviewer's last decision in the project."""
    last = last_undoable(get_engine(), project.id, reviewer_name())
    st.button(
        "Undo last decision",
        key=f"undo-{last.id if last else 'none'}",
        shortcut="U" if keys else None,
        on_click=_undo,
        args=(last.id if last else None,),
        disabled=last is None,
        help="Adds an event that takes it back; nothing is deleted.",
    )


def _undo(decision_id: int | None) -> None:
    if decision_id is None or st.session_state.get(_UNDONE) == decision_id:
        return
    try:
        undone = undo_decision(
            get_engine(),
            decision_id,
            reviewer=reviewer_name(),
            source="queue",
            identity_source=identity_source(),
        )
    except TracInError as error:
        _say("warning", str(error))
        return
    st.session_state[_UNDONE] = decision_id
    # The example whose decision was taken back is the next one to be shown.
    st.session_state[_RETURN_TO] = undone.example_id
    st.session_state[_SHOWN] = None
    _say("done", "Taken back. The example is here again.")


def undo_from_history(decision_id: int) -> None:
    """Take back one decision of the list; the page then reads the list again."""
    try:
        undo_decision(
            get_engine(),
            decision_id,
            reviewer=reviewer_name(),
            source="history",
            identity_source=identity_source(),
        )
    except TracInError as error:
        _say("warning", str(error))
        return
    _say("done", "Taken back. The event and its undo both stay in the list.")


def take_return() -> int | None:
    """Return the example that an undo brought back, once."""
    returned = st.session_state.pop(_RETURN_TO, None)
    return int(returned) if returned is not None else None


def _say(kind: str, text: str) -> None:
    st.session_state[_MESSAGE] = (kind, text)


def draw_message() -> None:
    """Show what the last press did; it stays until the next one."""
    kind, text = st.session_state.get(_MESSAGE) or (None, "")
    text = escape_markdown(text)
    if kind == "warning":
        st.warning(text)
    elif kind == "error":
        st.error(text)
    else:
        st.caption(text or "No decision yet in this session\\.")
