"""One example on a page: its picture or text, its labels, its numbers."""

from __future__ import annotations

import streamlit as st

from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.projects import Project
from ui.components.example import show_example
from ui.media import picture_address
from ui.plain_text import escape_markdown
from ui.wording import STATUS_WORDS, class_name, percent


def draw_example(
    project: Project, view: ExampleView, *, key: str, following: str | None = None
) -> None:
    """Draw the example large.

    Args:
        project: Its classes name the labels.
        view: The example.
        key: Widget key.
        following: Address of the picture that will probably come next, or None.
    """
    given = class_name(project.classes, view.given_label)
    show_example(
        view.id,
        view.version,
        image=picture_address(view.id, view.key) if view.media_path else None,
        text=view.text,
        alt=f"{view.split.capitalize()} example with the given label {given}",
        key=key,
        following=following,
    )


def draw_labels(project: Project, view: ExampleView) -> None:
    """Draw given label, prediction and state, each in words as well as in colour."""
    given = escape_markdown(class_name(project.classes, view.given_label))
    predicted = escape_markdown(class_name(project.classes, view.predicted_label))
    agrees = view.predicted_label == view.given_label
    with st.container(horizontal=True, gap="small"):
        st.badge(f"given {given}", color="blue")
        st.badge(
            f"predicted {predicted} · {escape_markdown(percent(view.predicted_probability))}",
            color="green" if agrees else "orange",
        )
        if not agrees:
            chance = escape_markdown(percent(view.given_probability))
            st.badge(f"given label’s probability {chance}", color="gray")
        if view.status != "pending":
            label = ""
            if view.status == "relabeled":
                label = " " + escape_markdown(class_name(project.classes, view.current_label))
            st.badge(f"{STATUS_WORDS[view.status]}{label}", color="violet")
