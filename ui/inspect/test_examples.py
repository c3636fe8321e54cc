"""Test examples, those the model is most wrong about first."""

from __future__ import annotations

import math

import streamlit as st

from relabel.db.examples import fetch_test_page
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.text import counted
from ui.components.cards import show_cards
from ui.galleries import example_card
from ui.session import get_engine

_PAGE_SIZE = 48


def draw_test_examples(project: Project, run: Run) -> int | None:
    """Draw a page of test examples.

    Returns:
        The number of the one that was clicked, or None.
    """
    wanted = st.session_state.get("test-page") or 1
    found = fetch_test_page(get_engine(), run.id, page=wanted, page_size=_PAGE_SIZE)
    if not found.total:
        st.info("This project has no test examples.")
        return None
    num_pages = math.ceil(found.total / _PAGE_SIZE)
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        st.caption(
            f"{counted(found.total, 'test example')}, the least probable label first. "
            "Open one to see which train examples are behind its prediction."
        )
        page = st.pagination(num_pages, key="test-page", persist_state="session")
    if page != wanted:
        found = fetch_test_page(get_engine(), run.id, page=page, page_size=_PAGE_SIZE)
    event = show_cards(
        [example_card(project, view) for view in found.rows],
        key=f"test-{run.id}-{page}",
        label="Test examples",
    )
    return event.opened
