"""The decision form: a button and a key for everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import streamlit as st

from tracin_core.numerals import value_text
from tracin_core.reviews.decision_kinds import DECISION_KINDS, KEEP, UNDO
from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.projects import Project
from ui.choices import (
    MAX_DIGIT_CLASSES,
    Choice,
    explain_idle_keys,
    list_classes,
    list_verdicts,
    relabel,
    revalue,
)
from ui.components.keyboard import Field, Press, watch_keys
from ui.decisions import (
    decide,
    explain_idle,
    note_key,
    offer_undo,
    refuse,
    undo_last,
    undo_shown,
)
from ui.labels import is_regression
from ui.numbers import read_number
from ui.plain_text import escape_markdown

_NOTE = Field(label="Note", key="n")
# The minus of a negative number begins it as well as a digit does.
_VALUE = Field(label="New value", key="v", begun_by="0123456789-")
_MODEL_KEY, _OPPONENTS_KEY = "m", "o"
_MAX_NOTE = 500  # characters


def draw_form(
    project: Project,
    view: ExampleView,
    *,
    opponents_label: int | None,
    likeliest: Sequence[int] = (),
    watched: str,
) -> None:
    """Draw the form for the example on the screen.

    Args:
        project: Its classes are the choices, or a number is.
        view: The example, as read in this run of the page.
        opponents_label: The label most of its opponents carry, or None.
        likeliest: Of more than ten classes, the ones to offer, the likeliest first.
        watched: Widget key of the component that shows the example; keys act on what it shows.
    """
    verdicts = list_verdicts(project, view, opponents_label)
    classes = [] if is_regression(project) else list_classes(project, view, likeliest)
    _draw_buttons(verdicts, view)
    if is_regression(project):
        _draw_value(project, view)
    else:
        st.caption("Relabel")
        _draw_buttons(classes, view)
        if len(project.classes) > MAX_DIGIT_CLASSES:
            _draw_class_search(project, view)
    st.text_input(
        _NOTE.label,
        key=note_key(view.id, view.version),
        max_chars=_MAX_NOTE,
        placeholder="Optional; press N to write, Enter to finish",
    )
    reasons = explain_idle_keys(project, view, [*verdicts, *classes], opponents_label)
    _watch(project, [*verdicts, *classes], watched, reasons)


def draw_undo(project: Project) -> None:
    """Draw the button that takes back this reviewer's last decision in the project."""
    last = offer_undo(project.id)
    st.button(
        _with_key(UNDO.title, UNDO.key),
        key=f"undo-{last}",  # a second press for the same decision is another button's
        on_click=undo_shown,
        args=(project.id, last),
        disabled=last is None,
        help="Takes back your last decision by a new event; nothing is deleted.",
    )


def draw_keys_without_example(project: Project, watched: str) -> None:
    """Let undo work by its key when everything has been reviewed."""
    _watch(project, [], watched)


def _watch(
    project: Project,
    choices: list[Choice],
    watched: str,
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> None:
    verdicts = {choice.key: choice.verdict for choice in choices}
    fields = [_NOTE, _VALUE] if is_regression(project) else [_NOTE]
    digits = "" if is_regression(project) else "0123456789"
    own = {kind.key for kind in DECISION_KINDS if kind.key and kind != UNDO}

    def act(press: Press) -> None:
        if press.key == UNDO.key:
            undo_last(project.id)
        elif press.key in verdicts and press.example_id is not None and press.version is not None:
            decide(press.example_id, press.version, verdicts[press.key])
        elif press.key in reasons:
            explain_idle(reasons[press.key])

    watch_keys(
        [*sorted({*own, _MODEL_KEY, _OPPONENTS_KEY, *digits}), UNDO.key],
        act,
        key="review-keys",
        watched=watched,
        always_on=[UNDO.key],
        fields=fields,
    )


def _draw_buttons(choices: list[Choice], view: ExampleView) -> None:
    # Close together, so that ten classes and the verdicts stay in one line each.
    with st.container(horizontal=True, gap="xsmall"):
        for choice in choices:
            primary = choice.name == KEEP.code
            st.button(
                _with_key(choice.label, choice.key, primary=primary),
                key=f"{choice.name}-{view.id}-{view.version}",
                type="primary" if primary else "secondary",
                on_click=decide,
                args=(view.id, view.version, choice.verdict),
            )


def _with_key(label: str, key: str, *, primary: bool = False) -> str:
    words = escape_markdown(label)
    if label.split(" ", 1)[0] == key:
        return words  # a class named by its own digit needs no second one beside it
    # Grey could not be read on the primary button's colour.
    return f"{words} {key.upper()}" if primary else f"{words} :gray[{key.upper()}]"


def _draw_value(project: Project, view: ExampleView) -> None:
    """Draw the field for another number; Enter records it, leaving the field does not."""
    mark = f"{view.id}-{view.version}"
    with (
        st.form(f"value-form-{mark}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        st.text_input(
            _VALUE.label,
            key=f"value-{mark}",
            placeholder=value_text(view.given_value),
            max_chars=40,
            width=240,
        )
        st.form_submit_button(
            "Set value :gray[Enter]",
            key=f"set-value-{mark}",
            on_click=_set_value,
            args=(project, view),
        )


def _set_value(project: Project, view: ExampleView) -> None:
    typed = str(st.session_state.get(f"value-{view.id}-{view.version}") or "")
    value = read_number(typed)
    if value is None:
        refuse(f"“{typed.strip()}” is no number. Type one such as 12500 or -3.5.")
    else:
        decide(view.id, view.version, revalue(project, view, value))


def _draw_class_search(project: Project, view: ExampleView) -> None:
    mark = f"{view.id}-{view.version}"
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
        st.button(
            "Relabel",
            key=f"relabel-{mark}",
            on_click=decide,
            args=None if label is None else (view.id, view.version, relabel(project, view, label)),
            disabled=label is None,
        )
