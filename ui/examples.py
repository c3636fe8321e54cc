"""One example on a page: its picture, text or row, where it comes from, its labels."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from relabel.db.decisions.kinds import PENDING, list_states
from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.text import format_residual
from ui.components.cards import Piece
from ui.components.example import show_example
from ui.fields import list_fields, name_texts, row_of
from ui.labels import agrees, is_regression, name_current, name_given, name_label, name_predicted
from ui.server.pictures import picture_address
from ui.wording import STATUS_WORDS, escape_markdown, isolate, percent

_PLACE_LENGTH = 90  # characters: one line of a column, or little more


def draw_example(
    project: Project,
    view: ExampleView,
    *,
    key: str,
    pieces: Sequence[Piece] = (),
) -> None:
    """Draw the example large.

    Args:
        project: Its classes name the labels.
        view: The example.
        key: Widget key.
        pieces: Its text in pieces, some of them marked; empty for an unmarked one.
    """
    show_example(
        view.id,
        view.version,
        image=picture_address(view.id, view.key, view.media_path),
        text=name_texts(view.text, view.fields),
        alt=f"{view.split.capitalize()} example with the given label {name_given(project, view)}",
        fields=list_fields(row_of(view.text, view.fields)),
        key=key,
        pieces=pieces,
    )


def describe_source_place(view: ExampleView) -> str:
    """Return where the example is in the person's own data; nothing where that is not known.

    Of a long path the end is shown, which names the file.
    """
    shown = view.source_place or ""
    if len(shown) > _PLACE_LENGTH:
        shown = "…" + shown[1 - _PLACE_LENGTH :]
    return f"From {isolate(shown)}" if shown else ""


def draw_source_place(view: ExampleView) -> None:
    """Draw where the example is in the person's own data, if that is known."""
    if shown := describe_source_place(view):
        st.caption(escape_markdown(shown))


def draw_labels(project: Project, view: ExampleView) -> None:
    """Draw given label, prediction and state, each in words as well as in colour."""
    differs = not is_regression(project) and not agrees(project, view)
    with st.container(horizontal=True, gap="small"):
        st.badge(f"given {escape_markdown(name_given(project, view))}", color="blue")
        # A badge of its own for each part: a long one would be cut in a narrow column.
        for words in _predictions(project, view):
            st.badge(
                escape_markdown(words),
                color="orange" if differs else "gray" if is_regression(project) else "green",
            )
        if differs:
            chance = escape_markdown(percent(view.given_probability))
            st.badge(f"given label’s probability {chance}", color="gray")
        if view.status != PENDING:
            label = ""
            if view.status in list_states("correct"):
                label = " " + escape_markdown(name_current(project, view))
            st.badge(f"{STATUS_WORDS[view.status]}{label}", color="violet")


def _predictions(project: Project, view: ExampleView) -> list[str]:
    if not is_regression(project):
        return [f"predicted {name_predicted(project, view)}"]
    name = name_label(project, None, view.predicted_value)
    return [
        f"predicted {name}",
        f"residual {format_residual(view.given_value, view.predicted_value)}",
    ]
