"""The plotly charts of a regression: its targets, its predictions, its residuals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from tracin_core.reviews.values import find_span
from tracin_core.texts import shorten
from ui.charts import LEGEND_ABOVE, MARGIN
from ui.plain_text import escape_plotly

_HEIGHT = 320  # pixels
_NAME_LENGTH = 40  # characters of the target's name


def draw_value_histogram(
    edges: Sequence[float],
    given: Sequence[int],
    current: Sequence[int],
    *,
    target: str,
    key: str,
) -> None:
    """Draw how many train examples have which value, as given and as reviewed.

    Args:
        edges: Of the bins, in the target's unit, shape ``(B + 1,)``.
        given: Examples in each bin by the given values, shape ``(B,)``.
        current: The same by the values as they stand now.
        target: Name of the number.
        key: Widget key.
    """
    centres = [(low + high) / 2 for low, high in pairwise(edges)]
    series = [("given", given)]
    if list(given) != list(current):
        series.append(("as reviewed", current))
    figure = go.Figure()
    for name, counts in series:
        figure.add_trace(
            go.Bar(
                name=name,
                x=centres,
                y=list(counts),
                hovertemplate="about %{x:,.6g}: %{y} examples<extra>" + name + "</extra>",
            )
        )
    figure.update_xaxes(title=_title(target))
    figure.update_yaxes(title="train examples", rangemode="tozero")
    figure.update_layout(
        height=_HEIGHT,
        margin=MARGIN | ({"t": 44} if len(series) > 1 else {}),
        bargap=0.05,
        barmode="overlay" if len(series) > 1 else "group",
        showlegend=len(series) > 1,
        legend=LEGEND_ABOVE,
    )
    if len(series) > 1:
        figure.update_traces(opacity=0.65)
    _draw(figure, key)


def draw_predictions(
    given: Sequence[float], predicted: Sequence[float], *, target: str, key: str
) -> int:
    """Draw each example's given number against the prediction; the line is agreement.

    Returns:
        How many of them lie beyond the chart, which ends where nearly all numbers do.
    """
    spans = [find_span(np.asarray(values, dtype=np.float64)) for values in (predicted, given)]
    ends = [min(low for low, _ in spans), max(high for _, high in spans)] if given else [0.0, 1.0]
    beyond = sum(
        not all(low <= value <= high for value, (low, high) in zip(pair, spans, strict=True))
        for pair in zip(predicted, given, strict=True)
    )
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=list(predicted),
            y=list(given),
            mode="markers",
            marker={"size": 5, "opacity": 0.5},
            hovertemplate="predicted %{x:,.6g}<br>given %{y:,.6g}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(x=ends, y=ends, mode="lines", line={"dash": "dot", "width": 1}, hoverinfo="skip")
    )
    ranges: list[list[float] | None] = [None, None]
    if beyond:
        ranges = [_with_margin(low, high) for low, high in spans]
    figure.update_xaxes(title=f"predicted {_title(target)}", range=ranges[0])
    figure.update_yaxes(title=f"given {_title(target)}", range=ranges[1])
    figure.update_layout(height=_HEIGHT, margin=MARGIN, showlegend=False)
    _draw(figure, key)
    return beyond


def _with_margin(low: float, high: float) -> list[float]:
    """Return the ends of an axis on which no point lies on the frame."""
    room = (high / 2 - low / 2) / 10 or 0.5
    return [low - room, high + room]


def draw_prediction_course(
    predicted: Sequence[float], steps: Sequence[int], given: float, *, target: str, key: str
) -> None:
    """Draw what the model predicts for one example at each checkpoint, beside the given number.

    Args:
        predicted: The prediction at each checkpoint, in the target's unit, shape ``(C,)``.
        steps: Training step of each checkpoint.
        given: The number that the data claims.
        target: Its name.
        key: Widget key.
    """
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            name="predicted",
            x=list(steps),
            y=list(predicted),
            mode="lines+markers",
            hovertemplate="step %{x}: %{y:,.6g}<extra>predicted</extra>",
        )
    )
    figure.add_hline(y=given, line_dash="dot", annotation_text="given")
    figure.update_xaxes(title="training step", showgrid=False, rangemode="tozero")
    figure.update_yaxes(title=_title(target))
    figure.update_layout(height=270, margin=MARGIN | {"t": 44}, legend=LEGEND_ABOVE)
    _draw(figure, key)


def _title(target: str) -> str:
    return escape_plotly(shorten(target or "value", _NAME_LENGTH))


def _draw(figure: go.Figure, key: str) -> None:
    st.plotly_chart(
        figure, key=key, width="stretch", config={"displayModeBar": False, "displaylogo": False}
    )
