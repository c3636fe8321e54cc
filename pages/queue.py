"""Queue: every train example, the most suspect first."""

from __future__ import annotations

import math

import streamlit as st

from relabel.db.paging import Page
from relabel.db.queue import QueueRow, fetch_page
from relabel.text import counted
from ui.components.cards import show_cards
from ui.galleries import queue_card
from ui.navigation import open_page
from ui.queue.filters import QueueView, draw_filters, review_address
from ui.queue.map import choose_form, draw_queue_map
from ui.runs.model_quality import draw_model_warnings
from ui.session import get_engine, require_project, require_run

PAGE_SIZE = 50
_THUMBNAIL = 64  # CSS pixels


def read_page(run_id: int, view: QueueView, page: int) -> Page[QueueRow]:
    return fetch_page(
        get_engine(),
        run_id,
        signal=view.signal,
        filter=view.filter,
        page=page,
        page_size=PAGE_SIZE,
    )


def go_to_first_page() -> None:
    # The fiftieth page of another order or filter is not what anybody was looking at.
    st.session_state["page"] = 1


project = require_project()
st.title("Queue", anchor=False)
run = require_run(project)
draw_model_warnings(project, run)
view = draw_filters(project, run, with_status=True, on_change=go_to_first_page)
if choose_form(project) == "map":
    clicked = draw_queue_map(project, run, view)
    if clicked is not None:
        open_page("inspect", example=clicked)
    st.stop()
wanted = st.session_state.get("page") or 1
found = read_page(run.id, view, wanted)
num_pages = max(1, math.ceil(found.total / PAGE_SIZE))
if not found.rows and found.total:
    # The address or an older filter named a page beyond the last.
    st.session_state["page"] = num_pages
    found = read_page(run.id, view, num_pages)
if not found.total:
    st.info("No example matches. Remove a filter to see the others.")
    st.stop()
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.caption(f"{counted(found.total, 'example')}, the most suspect first. Open one to see why.")
    if view.filter.status != "reviewed":
        # In a tab of its own: within one session two pages with the same filters would take them
        # out of each other's address, and Back and a reload would show everything.
        st.link_button(
            "Review these",
            review_address(project, run),
            help="Opens the review of these in a new tab.",
        )
    page = st.pagination(num_pages, key="page", bind="query-params")
if page != wanted:
    found = read_page(run.id, view, page)
event = show_cards(
    [queue_card(project, row, total=run.num_ranked) for row in found.rows],
    # The key holds what is shown: a click on an older list must not count for a newer one.
    key=f"queue-{run.id}-{view}-{page}",
    label="Suspects",
    layout="list",
    image_size=_THUMBNAIL,
)
if event.opened is not None:
    open_page("inspect", example=event.opened)
