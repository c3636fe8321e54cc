"""The decision form: a button and a key for everything."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.projects import Project
from ui.components.keyboard import Field, Press, watch_keys
from ui.decisions import Verdict, decide, find_last_decision, note_key, undo_last, undo_shown
from ui.plain_text import escape_markdown, isolate, shorten
from ui.wording import class_name

MAX_DIGIT_CLASSES = 10
_NOTE_LABEL = "Note"
_NOTE_KEY = "n"
_UNDO_KEY = "u"
_NAME_LENGTH = 28  # characters of a class name on a button
_MAX_NOTE = 500  # characters


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
    verdict: Verdict


def class_keys(classes: tuple[str, ...]) -> list[str]:
    """Return the key of each class, in order, for at most ten classes.

    Classes named by one digit each have their own; others count from 1, and the tenth has 0.
    """
    if len(classes) > MAX_DIGIT_CLASSES:
        return []
    if all(len(name) == 1 and name.isascii() and name.isdecimal() for name in classes):
        return list(classes)
    return [str((index + 1) % 10) for index in range(len(classes))]


def list_verdicts(project: Project, view: ExampleView, opponents_label: int | None) -> list[Choice]:
    """Return the choices that are not classes.

    Args:
        project: Its classes name the labels.
        view: The example.
        opponents_label: The label most of its opponents carry, where that says something new.
    """
    given = class_name(project.classes, view.given_label)
    keep = Verdict(action="keep", sentence=f"{given} kept")
    choices = [Choice(name="keep", label="Keep", key="k", verdict=keep)]
    suggestions = [("model", "Model’s", "m", view.predicted_label)]
    if opponents_label != view.predicted_label:
        suggestions.append(("opponents", "Opponents’", "o", opponents_label))
    for name, whose, key, label in suggestions:
        if label is not None and label != view.given_label:
            words = f"{whose}: {isolate(shorten(project.classes[label], _NAME_LENGTH))}"
            verdict = _relabel(project, view, label)
            choices.append(Choice(name=name, label=words, key=key, verdict=verdict))
    exclude = Verdict(action="exclude", sentence=f"{given} excluded")
    choices.append(Choice(name="exclude", label="Exclude", key="x", verdict=exclude))
    unsure = Verdict(action="ambiguous", sentence=f"{given} marked ambiguous")
    choices.append(Choice(name="ambiguous", label="Ambiguous", key="a", verdict=unsure))
    if view.status in ("pending", "skipped"):
        skip = Verdict(action="skip", sentence="skipped; it comes again at the end")
        choices.append(Choice(name="skip", label="Skip", key="s", verdict=skip))
    return choices


def list_classes(project: Project, view: ExampleView) -> list[Choice]:
    """Return one choice a class; the given label's keeps it, which is what its digit means."""
    given = class_name(project.classes, view.given_label)
    choices = []
    for label, key in enumerate(class_keys(project.classes)):
        words = isolate(shorten(project.classes[label], _NAME_LENGTH))
        verdict = _relabel(project, view, label)
        if label == view.given_label:
            words, verdict = f"{words} (given)", Verdict(action="keep", sentence=f"{given} kept")
        choices.append(Choice(name=f"class-{label}", label=words, key=key, verdict=verdict))
    return choices


def draw_form(
    project: Project, view: ExampleView, *, opponents_label: int | None, watched: str
) -> None:
    """Draw the form for the example on the screen.

    Args:
        project: Its classes are the choices.
        view: The example, as read in this run of the page.
        opponents_label: The label most of its opponents carry, or None.
        watched: Widget key of the component that shows the example; keys act on what it shows.
    """
    verdicts = list_verdicts(project, view, opponents_label)
    classes = list_classes(project, view)
    _draw_buttons(verdicts, view)
    st.caption("Relabel")
    if classes:
        _draw_buttons(classes, view)
    else:
        _draw_class_search(project, view)
    st.text_input(
        _NOTE_LABEL,
        key=note_key(view.id, view.version),
        max_chars=_MAX_NOTE,
        placeholder="Optional; press N to write, Enter to finish",
    )
    _watch(project, [*verdicts, *classes], watched)


def draw_undo(project: Project) -> None:
    """Draw the button that takes back this reviewer's last decision in the project."""
    last = find_last_decision(project.id)
    st.button(
        _with_key("Undo", _UNDO_KEY),
        key=f"undo-{last}",  # a second press for the same decision is another button's
        on_click=undo_shown,
        args=(project.id, last),
        disabled=last is None,
        help="Takes back your last decision by a new event; nothing is deleted.",
    )


def draw_keys_without_example(project: Project, watched: str) -> None:
    """Let undo work by its key when everything has been reviewed."""
    _watch(project, [], watched)


def _watch(project: Project, choices: list[Choice], watched: str) -> None:
    verdicts = {choice.key: choice.verdict for choice in choices}

    def act(press: Press) -> None:
        if press.key == _UNDO_KEY:
            undo_last(project.id)
        elif press.key in verdicts and press.example_id is not None and press.version is not None:
            decide(press.example_id, press.version, verdicts[press.key])

    watch_keys(
        [*sorted({*"kmoxas0123456789"}), _UNDO_KEY],
        act,
        key="review-keys",
        watched=watched,
        always_on=[_UNDO_KEY],
        fields=[Field(label=_NOTE_LABEL, key=_NOTE_KEY)],
    )


def _relabel(project: Project, view: ExampleView, label: int) -> Verdict:
    given = class_name(project.classes, view.given_label)
    name = class_name(project.classes, label)
    return Verdict(action="relabel", new_label=label, sentence=f"{given} relabelled to {name}")


def _draw_buttons(choices: list[Choice], view: ExampleView) -> None:
    with st.container(horizontal=True, gap="small"):
        for choice in choices:
            primary = choice.name == "keep"
            st.button(
                _with_key(choice.label, choice.key, primary=primary),
                key=f"{choice.name}-{view.id}-{view.version}",
                type="primary" if primary else "secondary",
                on_click=decide,
                args=(view.id, view.version, choice.verdict),
            )


def _with_key(label: str, key: str, *, primary: bool = False) -> str:
    words = escape_markdown(label)
    if label == key:
        return words  # a class named by its own digit needs no second one beside it
    # Grey could not be read on the primary button's colour.
    return f"{words} {key.upper()}" if primary else f"{words} :gray[{key.upper()}]"


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
            args=None if label is None else (view.id, view.version, _relabel(project, view, label)),
            disabled=label is None,
        )
