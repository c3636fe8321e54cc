"""The head of the queue on a map, for tables whose rows have a place."""

from __future__ import annotations

import streamlit as st

from tracin_core.numerals import counted
from tracin_core.reviews.projects import Project, Run
from tracin_core.reviews.queue import QueueRow, fetch_page
from ui.address import read_choice, write_choice
from ui.coordinates import CoordinateColumns, find_coordinates
from ui.filters import QueueView
from ui.labels import name_given, name_predicted
from ui.map import Layer, Point, draw_map
from ui.segments import segment_words
from ui.session import get_engine

_FORMS = {"list": "List", "map": "Map"}
_SHOWN = 300  # suspects on the map
_HEAD = 50  # of them, drawn larger


def choose_form(project: Project) -> str:
    """Draw the choice between list and map where rows have a place; return "list" or "map"."""
    if find_coordinates(project) is None:
        return "list"
    if "queue-form" not in st.session_state:
        st.session_state["queue-form"] = read_choice("form", _FORMS, "list")
    form = st.segmented_control(
        "Show as",
        list(_FORMS),
        format_func=lambda name: segment_words(_FORMS[name]),
        required=True,
        key="queue-form",
        label_visibility="collapsed",
    )
    write_choice("form", form or "list", "list")
    return form or "list"


def draw_queue_map(project: Project, run: Run, view: QueueView) -> int | None:
    """Draw the most suspect rows of the filtered queue.

    Returns:
        The number of the example that was clicked, or None.
    """
    columns = find_coordinates(project)
    if columns is None:
        return None
    found = fetch_page(
        get_engine(), run.id, signal=view.signal, filter=view.filter, page=1, page_size=_SHOWN
    )
    points = [_point(project, columns, row) for row in found.rows]
    placed = [point for point in points if point is not None]
    if not found.total:
        st.info("No row matches. Remove a filter to see the others.")
        return None
    homeless = len(points) - len(placed)
    st.caption(
        f"The {len(found.rows):,} most suspect of {counted(found.total, 'row')}, above a sample of "
        "all. Click a point to see why."
        + (f" {counted(homeless, 'has no place', 'have no place')}." if homeless else "")
    )
    layers = [
        Layer(name=f"rank {_HEAD + 1} and on", points=placed[_HEAD:], symbol="circle", size=7),
        Layer(name=f"first {_HEAD}", points=placed[:_HEAD], symbol="diamond", size=11),
    ]
    return draw_map(
        project,
        columns,
        [layer for layer in layers if layer.points],
        total=run.num_ranked,
        key=f"queue-map-{run.id}-{view}",
    )


def _point(project: Project, columns: CoordinateColumns, row: QueueRow) -> Point | None:
    place = columns.locate(row.fields)
    if place is None:
        return None
    given, predicted = name_given(project, row), name_predicted(project, row)
    return Point(
        example_id=row.example_id,
        longitude=place[0],
        latitude=place[1],
        words=f"rank {row.rank:,}: given {given}, predicted {predicted}",
    )
