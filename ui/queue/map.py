"""Rows of a table on a map, where two of its columns are degrees: the head of the queue.

The map is a plain plot of degrees. Tiles of streets would be asked of a stranger's server, which
would then know where the data lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from relabel.db.examples import find_by_positions
from relabel.db.project_rules import Project
from relabel.db.queue import QueueRow, fetch_page
from relabel.db.runs import Run
from relabel.text import counted
from ui.address import read_choice, write_choice
from ui.chart_colours import dress_figure
from ui.labels import name_given, name_predicted
from ui.queue.filters import QueueView
from ui.session import get_engine
from ui.wording import escape_plotly, segment_words

_LATITUDE_NAMES = ("latitude", "lat")
_LONGITUDE_NAMES = ("longitude", "lon", "lng", "long")
# Rows behind the others, so that the shape of the land can be seen.
_BACKGROUND = 1500
_HEIGHT = 460  # pixels
_BACKGROUND_COLOUR = "rgba(128, 128, 128, 0.35)"
_FORMS = {"list": "List", "map": "Map"}
_SHOWN = 300  # suspects on the map
_HEAD = 50  # of them, drawn larger


@dataclass(frozen=True)
class CoordinateColumns:
    """Names of the columns that hold degrees."""

    longitude: str
    latitude: str

    def locate(self, fields: Mapping[str, Any] | None) -> tuple[float, float] | None:
        """Return (longitude, latitude) of a row in degrees, or None where it has no place."""
        longitude = (fields or {}).get(self.longitude)
        latitude = (fields or {}).get(self.latitude)
        if not isinstance(longitude, int | float) or not isinstance(latitude, int | float):
            return None
        if not (-180 <= longitude <= 360 and -90 <= latitude <= 90):
            return None
        return float(longitude), float(latitude)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One example on the map.

    Attributes:
        example_id: Handed back when it is clicked.
        longitude: In degrees.
        latitude: In degrees.
        words: What stands beside it under the pointer; plain text.
    """

    example_id: int
    longitude: float
    latitude: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Points of one kind.

    Attributes:
        name: In the legend.
        points: The points.
        symbol: Their shape, as plotly names it; it carries the meaning as well as the colour.
        size: In pixels.
        color: As plotly takes it; None leaves it to the theme.
    """

    name: str
    points: Sequence[Point]
    symbol: str = "circle"
    size: int = 8
    color: str | None = None


def find_coordinates(project: Project) -> CoordinateColumns | None:
    """Return the columns with coordinates, by their usual names; None where there are none."""
    if project.kind != "table":
        return None
    names = [str(column.get("name", "")) for column in project.settings.get("columns", ())]
    longitude = _find(names, _LONGITUDE_NAMES)
    latitude = _find(names, _LATITUDE_NAMES)
    if longitude is None or latitude is None:
        return None
    return CoordinateColumns(longitude=longitude, latitude=latitude)


def _find(names: list[str], wanted: tuple[str, ...]) -> str | None:
    known = {name.strip().lower(): name for name in reversed(names)}
    return next((known[name] for name in wanted if name in known), None)


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


def draw_map(
    project: Project, columns: CoordinateColumns, layers: Sequence[Layer], *, total: int, key: str
) -> int | None:
    """Draw layers of points above a sample of all train rows.

    Args:
        project: The project.
        columns: Which of its columns are degrees.
        layers: From the lowest to the topmost.
        total: Train rows of the project.
        key: Widget key.

    Returns:
        The number of the example that was clicked, or None.
    """
    places = sample_places(project.id, columns, total)
    figure = go.Figure()
    figure.add_trace(_background(places))
    for layer in layers:
        figure.add_trace(_trace(layer))
    latitudes = [latitude for _, latitude in places] or [0.0]
    _shape(figure, columns, float(np.mean(latitudes)))
    event: Any = st.plotly_chart(
        dress_figure(figure),
        key=key,
        width="stretch",
        on_select="rerun",
        selection_mode="points",
        config={"displayModeBar": False, "displaylogo": False, "scrollZoom": True},
    )
    return read_clicked(event, layers)


def read_clicked(event: Any, layers: Sequence[Layer]) -> int | None:
    """Return the example of the first clicked point; what a browser sends is untrusted."""
    known = {point.example_id for layer in layers for point in layer.points}
    for point in event.get("selection", {}).get("points", ()):
        marked = point.get("customdata")
        clicked = marked[0] if isinstance(marked, list | tuple) and marked else marked
        if isinstance(clicked, int) and clicked in known:
            return clicked
    return None


@st.cache_data(show_spinner=False, max_entries=16)
def sample_places(
    project_id: int, columns: CoordinateColumns, total: int
) -> list[tuple[float, float]]:
    """Return longitude and latitude of evenly chosen train rows."""
    positions = np.unique(np.linspace(0, total - 1, min(total, _BACKGROUND), dtype=int))
    views = find_by_positions(get_engine(), project_id, None, "train", positions.tolist())
    places = [columns.locate(view.fields) for view in views]
    return [place for place in places if place is not None]


def _background(places: Sequence[tuple[float, float]]) -> go.Scatter:
    return go.Scatter(
        name="train rows (a sample)",
        x=[longitude for longitude, _ in places],
        y=[latitude for _, latitude in places],
        mode="markers",
        marker={"size": 4, "color": _BACKGROUND_COLOUR},
        hoverinfo="skip",
    )


def _trace(layer: Layer) -> go.Scatter:
    marker: dict[str, Any] = {"size": layer.size, "symbol": layer.symbol, "opacity": 0.85}
    if layer.color is not None:
        marker["color"] = layer.color
    return go.Scatter(
        name=layer.name,
        x=[point.longitude for point in layer.points],
        y=[point.latitude for point in layer.points],
        customdata=[[point.example_id] for point in layer.points],
        text=[escape_plotly(point.words) for point in layer.points],
        mode="markers",
        marker=marker,
        hovertemplate="%{text}<extra></extra>",
    )


def _shape(figure: go.Figure, columns: CoordinateColumns, latitude: float) -> None:
    """Set the frame; a degree of longitude is as wide as it is at this latitude."""
    figure.update_xaxes(
        title=escape_plotly(columns.longitude),
        showgrid=False,
        zeroline=False,
        constrain="domain",
    )
    figure.update_yaxes(
        title=escape_plotly(columns.latitude),
        showgrid=False,
        zeroline=False,
        scaleanchor="x",
        scaleratio=1 / max(0.1, math.cos(math.radians(latitude))),
    )
    figure.update_layout(
        height=_HEIGHT,
        margin={"l": 8, "r": 16, "t": 44, "b": 8},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        dragmode="pan",
    )
