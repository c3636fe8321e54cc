"""Rows of a table on a map: suspects, or one row with its proponents and opponents.

The map is a plain plot of degrees. Tiles of streets would be asked of a stranger's server, which
would then know where the data lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from tracin_core.reviews.examples import find_by_positions
from tracin_core.reviews.projects import Project
from ui.coordinates import CoordinateColumns
from ui.plain_text import escape_plotly
from ui.session import get_engine

# Rows behind the others, so that the shape of the land can be seen.
_BACKGROUND = 1500
_HEIGHT = 460  # pixels
_BACKGROUND_COLOUR = "rgba(128, 128, 128, 0.35)"


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
        figure,
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
    """Give a degree of longitude the width that it has at this latitude."""
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
