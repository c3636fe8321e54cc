"""History: every event of the review, undo, and the corrected labels to take away."""

from __future__ import annotations

import math

import streamlit as st

from relabel.db.decisions.history import HistoryRow, fetch_history
from relabel.db.paging import Page
from relabel.text import counted
from ui.components.cards import show_cards
from ui.history.batches import draw_batches
from ui.history.export import draw_export, draw_history_export
from ui.history.returned import draw_returned
from ui.history.table import EVERYTHING, HistoryView, draw_history_filters, history_card
from ui.history.worth import draw_worth
from ui.navigation import open_page
from ui.review.decisions import draw_message, undo
from ui.session import get_engine, require_project

PAGE_SIZE = 50


def read_page(project_id: int, view: HistoryView, page: int) -> Page[HistoryRow]:
    return fetch_history(
        get_engine(),
        project_id,
        reviewer=view.reviewer,
        actions=view.actions,
        text=view.text,
        page=page,
        page_size=PAGE_SIZE,
    )


project = require_project()
st.title("History", anchor=False)
draw_export(project)
draw_returned(project)
draw_worth(project)
st.header("Every event", anchor=False)
view = draw_history_filters(project)
page = st.session_state.get("events") or 1
found = read_page(project.id, view, page)
num_pages = max(1, math.ceil(found.total / PAGE_SIZE))
if page > num_pages:
    page = num_pages
    st.session_state["events"] = page
    found = read_page(project.id, view, page)
draw_batches(project)
draw_message()
if not found.total:
    if view != EVERYTHING:
        st.info("No decision matches. Remove a filter to see the others.")
    else:
        st.info("Nothing has been decided yet. Every decision and every undo becomes a line here.")
        if st.button("Review the suspects", type="primary", key="to-review"):
            open_page("review")
    st.stop()
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.caption(f"{counted(found.total, 'event')}, the latest first. Nothing is ever deleted.")
    draw_history_export(project)
    chosen = st.pagination(num_pages, key="events", bind="query-params")
if chosen != page:
    page = chosen
    found = read_page(project.id, view, page)
event = show_cards(
    [history_card(project, row) for row in found.rows],
    # A new event changes the list, so an old click must not count for it.
    key=f"history-{project.id}-{view}-{page}-{found.total}-{found.rows[0].id}",
    label="Events",
    layout="list",
    image_size=44,
)
if event.opened is not None:
    open_page("inspect", example=event.opened)
if event.token is not None and event.token.isdecimal() and len(event.token) <= 18:
    undo(int(event.token), source="history")
    st.rerun()
