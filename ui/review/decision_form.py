"""What can be decided about an example: a button and a key for everything.

A choice is a word, a key and what it records. The form draws the choices; keys do the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import streamlit as st

from relabel.db.decision_kinds import DECISION_KINDS, KEEP, RELABEL, UNDO, DecisionKind
from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.schema import UNDECIDED
from relabel.text import format_number, shorten
from ui.components.keyboard import Field, Press, watch_keys
from ui.inspect.unseen import Suggested
from ui.labels import is_regression, name_given, name_label
from ui.review.decisions import (
    DecisionRequest,
    decide,
    explain_idle,
    note_key,
    offer_undo,
    refuse,
    undo_last,
    undo_shown,
)
from ui.wording import escape_markdown, isolate, read_number

MAX_DIGIT_CLASSES = 10
_NAME_LENGTH = 28  # characters of a class name on a button
_MAX_NOTE = 500  # characters
_NOTE = Field(label="Note", key="n")
# The minus of a negative number begins it as well as a digit does.
_VALUE = Field(label="New value", key="v", begun_by="0123456789-")
_MODEL_KEY, _OPPONENTS_KEY = "m", "o"
# Takes what the key of the model takes; while a button has the focus it is that button's.
_ENTER = "enter"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One button of the form.

    Attributes:
        name: Distinguishes its widget key within the form.
        label: The word on the button; plain text.
        key: The keyboard's key, in lower case.
        verdict: What it records.
    """

    name: str
    label: str
    key: str
    verdict: DecisionRequest


def draw_form(
    project: Project,
    view: ExampleView,
    *,
    suggested: Suggested,
    opponents_label: int | None,
    likeliest: Sequence[int] = (),
    watched: str,
) -> None:
    """Draw the form for the example on the screen.

    Args:
        project: Its classes are the choices, or a number is.
        view: The example, as read in this run of the page.
        suggested: What the key M takes.
        opponents_label: The label most of its opponents carry, or None.
        likeliest: Of more than ten classes, the ones to offer, the likeliest first.
        watched: Widget key of the component that shows the example; keys act on what it shows.
    """
    verdicts = list_verdicts(project, view, suggested, opponents_label)
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
    reasons = explain_idle_keys(project, view, [*verdicts, *classes], suggested, opponents_label)
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
    """Watch the key of undo alone, when everything has been reviewed."""
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
        key = _MODEL_KEY if press.key == _ENTER else press.key
        if key == UNDO.key:
            undo_last(project.id)
        elif key in verdicts and press.example_id is not None and press.version is not None:
            decide(press.example_id, press.version, verdicts[key])
        elif key in reasons:
            explain_idle(reasons[key])

    watch_keys(
        [*sorted({*own, _MODEL_KEY, _OPPONENTS_KEY, _ENTER, *digits}), UNDO.key],
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
            placeholder=format_number(view.given_value),
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


def list_verdicts(
    project: Project, view: ExampleView, suggested: Suggested, opponents_label: int | None
) -> list[Choice]:
    """Return the choices that are not classes.

    Args:
        project: Its classes name the labels.
        view: The example.
        suggested: What the key M takes.
        opponents_label: The label most of its opponents carry, where that says something new.
    """
    choices: list[Choice] = []
    for kind in DECISION_KINDS:
        if kind.effect == "correct":
            choices += _suggest(project, view, suggested, opponents_label)
        elif kind.effect != "undo" and (kind.effect != "defer" or view.status in UNDECIDED):
            verdict = _decide_as(kind, project, view)
            choices.append(Choice(name=kind.code, label=kind.title, key=kind.key, verdict=verdict))
    return choices


def list_classes(
    project: Project, view: ExampleView, likeliest: Sequence[int] = ()
) -> list[Choice]:
    """Return one choice a class; the given label's keeps it, which is what its digit means.

    Args:
        project: Its classes.
        view: The example.
        likeliest: Where there are more than ten classes, those to offer, the likeliest first.
    """
    keys = class_keys(project.classes)
    offered = list(enumerate(keys))
    if not keys:
        shown = likeliest[:MAX_DIGIT_CLASSES]
        offered = [(label, str((place + 1) % 10)) for place, label in enumerate(shown)]
    return [_class_choice(project, view, label, key) for label, key in offered]


def class_keys(classes: Sequence[str]) -> list[str]:
    """Return the key of each class, in order, for at most ten classes.

    Classes named by one digit each have their own; others count from 1, and the tenth has 0.
    """
    if len(classes) > MAX_DIGIT_CLASSES:
        return []
    if all(len(name) == 1 and name.isascii() and name.isdecimal() for name in classes):
        return list(classes)
    return [str((index + 1) % 10) for index in range(len(classes))]


def relabel(project: Project, view: ExampleView, label: int) -> DecisionRequest:
    """Return the verdict that the example belongs to another class."""
    new = name_label(project, label, None)
    sentence = RELABEL.recorded.format(given=name_given(project, view), new=new)
    return DecisionRequest(action=RELABEL.code, new_label=label, sentence=sentence)


def revalue(project: Project, view: ExampleView, value: float) -> DecisionRequest:
    """Return the verdict that the example's number is another one."""
    if value == view.given_value:
        return _decide_as(KEEP, project, view)
    sentence = f"{name_given(project, view)} changed to {format_number(value)}"
    return DecisionRequest(action=RELABEL.code, new_value=value, sentence=sentence)


def _decide_as(kind: DecisionKind, project: Project, view: ExampleView) -> DecisionRequest:
    """Return the verdict of a kind that needs no new answer."""
    sentence = kind.recorded.format(given=name_given(project, view), new="")
    return DecisionRequest(action=kind.code, sentence=sentence)


def _class_choice(project: Project, view: ExampleView, label: int, key: str) -> Choice:
    words, verdict = _short_name(project, label), relabel(project, view, label)
    if label == view.given_label:
        words, verdict = f"{words} (given)", _decide_as(KEEP, project, view)
    return Choice(name=f"class-{label}", label=words, key=key, verdict=verdict)


def _suggest(
    project: Project, view: ExampleView, suggested: Suggested, opponents_label: int | None
) -> list[Choice]:
    """Return the answers of the models and the opponents that are not the given one."""
    whose = "Suggested" if suggested.by_unseen else "Model’s"
    if is_regression(project):
        if suggested.value is None:
            return []
        verdict = revalue(project, view, suggested.value)
        label = f"{whose}: {format_number(suggested.value)}"
        return [Choice(name="model", label=label, key=_MODEL_KEY, verdict=verdict)]
    suggestions = [("model", whose, _MODEL_KEY, suggested.label)]
    if opponents_label != suggested.label:
        suggestions.append(("opponents", "Opponents’", _OPPONENTS_KEY, opponents_label))
    return [
        Choice(
            name=name,
            label=f"{whose}: {_short_name(project, label)}",
            key=key,
            verdict=relabel(project, view, label),
        )
        for name, whose, key, label in suggestions
        if label is not None and label != view.given_label
    ]


def _short_name(project: Project, label: int) -> str:
    return isolate(shorten(project.classes[label], _NAME_LENGTH))


def explain_idle_keys(
    project: Project,
    view: ExampleView,
    choices: Sequence[Choice],
    suggested: Suggested,
    opponents_label: int | None,
) -> dict[str, str]:
    """Return why each key of the review that decides nothing about an example does nothing.

    Args:
        project: Its classes name the labels.
        view: The example.
        choices: What can be decided about it.
        suggested: What the key M takes.
        opponents_label: The label most of its opponents carry, or None.
    """
    given = name_given(project, view)
    reasons = {
        "m": _explain_model_key(project, view, given),
        "o": _explain_opponents_key(project, given, suggested, opponents_label),
    }
    reasons |= {
        kind.key: f"{kind.key.upper()} does nothing here: the example has been decided already."
        for kind in DECISION_KINDS
        if kind.effect == "defer"
    }
    if not is_regression(project):
        keys = [choice.key for choice in choices if choice.name.startswith("class-")]
        reasons |= {
            digit: f"{digit} does nothing here: the labels have the digits {_span(keys)}."
            for digit in "0123456789"
        }
    taken = {choice.key for choice in choices}
    return {key: reason for key, reason in reasons.items() if key not in taken}


def _span(keys: Sequence[str]) -> str:
    """Return the first and the last of the digits in use: "1 to 3"."""
    return f"{keys[0]} to {keys[-1]}" if len(keys) > 1 else "".join(keys)


def _explain_model_key(project: Project, view: ExampleView, given: str) -> str:
    what = "number" if is_regression(project) else "label"
    predicted = view.predicted_value if is_regression(project) else view.predicted_label
    if predicted is None:
        return f"M does nothing here: the model has predicted no {what} for this example."
    return f"M does nothing here: nobody suggests another {what} than {given}. K keeps it."


def _explain_opponents_key(
    project: Project, given: str, suggested: Suggested, opponents_label: int | None
) -> str:
    if is_regression(project):
        return "O does nothing here: opponents suggest no numbers."
    if opponents_label is None:
        return f"O does nothing here: its opponents agree on no label other than {given}."
    name = name_label(project, opponents_label, None)
    whose = "suggested one" if suggested.by_unseen else "model’s"
    return f"O does nothing here: the opponents’ label is the {whose}, {name}. M takes it."
