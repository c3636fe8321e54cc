"""Queue: every example of a split, the most suspect first, to be looked at and decided together."""

from __future__ import annotations

import math

import streamlit as st

from relabel.db.groups import count_left
from relabel.db.paging import Page
from relabel.db.queue import QueueRow, fetch_page
from relabel.text import counted
from ui.components.grid import read_opened, show_grid
from ui.navigation import open_page
from ui.queue.filters import QueueView, draw_filters, remember_view, review_address
from ui.queue.groups import draw_end, draw_groups
from ui.queue.map import choose_form, draw_queue_map
from ui.queue.screen import choose_page_size, describe_screen
from ui.review.choices import class_keys
from ui.runs.model_quality import draw_model_warnings
from ui.session import get_engine, require_project, require_run

GRID = "queue-grid"


def read_page(run_id: int, view: QueueView, page: int) -> Page[QueueRow]:
    return fetch_page(
        get_engine(),
        run_id,
        signal=view.signal,
        filter=view.filter,
        page=page,
        page_size=page_size,
    )


def go_to_first_page() -> None:
    # The fiftieth page of another order or filter is not what anybody was looking at.
    st.session_state["page"] = 1


project = require_project()
page_size = choose_page_size(project.kind)
st.title("Queue", anchor=False)
run = require_run(project)
draw_model_warnings(project, run)
view = draw_filters(project, run, with_status=True, on_change=go_to_first_page)
ranked = run.of_split(view.filter.split)
if choose_form(project) == "map":
    clicked = draw_queue_map(project, ranked, view)
    if clicked is not None:
        open_page("inspect", example=clicked)
    st.stop()
draw_groups(project, run, view)
wanted = st.session_state.get("page") or 1
found = read_page(run.id, view, wanted)
num_pages = max(1, math.ceil(found.total / page_size))
if not found.rows and found.total:
    # The address or an older filter named a page beyond the last.
    st.session_state["page"] = num_pages
    found = read_page(run.id, view, num_pages)
left, total = count_left(get_engine(), run.id, signal=view.signal, filter=view.filter)
if not found.total:
    # The last ones were decided, and one of them opened, before the page was drawn again.
    if (opened := read_opened(GRID)) is not None:
        open_page("inspect", example=opened, within=remember_view(project, run, view))
    draw_end(project, run, view, total=total)
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
event = show_grid(
    describe_screen(
        project,
        ranked,
        view,
        found.rows,
        keys=class_keys(project.classes),
        passing=found.total,
        left=left,
        total=total,
    ),
    key=GRID,
)
if event.opened is not None:
    open_page("inspect", example=event.opened, within=remember_view(project, run, view))
if event.goes_on:
    st.rerun()
