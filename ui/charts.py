"""The plotly charts that pages share: of classes, of a regression's numbers, of the checkpoints.

Names of classes and of targets are data, so they are escaped before plotly reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from relabel.db.stats import find_span
from relabel.text import shorten
from relabel.triage.signals import title_scores
from ui.chart_colours import choose_inks, dress_figure, read_ink, read_scale
from ui.wording import escape_plotly, isolate

MARGIN = {"l": 8, "r": 16, "t": 24, "b": 8}
LEGEND_ABOVE = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
_CONFIG = {"displayModeBar": False, "displaylogo": False}
MOST_CLASSES = 15  # that a chart can name side by side
_CELL = 34  # pixels
_BAR_HEIGHT = 26  # pixels
_VALUE_HEIGHT = 320  # pixels, of the charts of a regression
_NAME_LENGTH = 24  # characters; longer class names would push the chart off its own edge
_LEVEL_NAMES = 40  # characters that fit below the columns of a table side by side
_VALUE_NAME_LENGTH = 40  # characters of the target's name


def draw_figure(
    figure: go.Figure,
    key: str,
    *,
    alt: str | None = None,
    config: Mapping[str, Any] = MappingProxyType(_CONFIG),
) -> None:
    """Draw a chart as wide as its place, without plotly's toolbar.

    Args:
        figure: The chart.
        key: Widget key.
        alt: What it shows, for those who do not see it.
        config: Plotly's, where it is to have a toolbar.
    """
    st.plotly_chart(dress_figure(figure), key=key, width="stretch", config=dict(config), alt=alt)


def choose_in_figure(figure: go.Figure, key: str, *, alt: str | None = None) -> list[Any] | None:
    """Draw a chart whose marks can be clicked.

    Returns:
        The ``customdata`` of the mark that was clicked, as a browser sends it, or None.
    """
    event: Any = st.plotly_chart(
        dress_figure(figure),
        key=key,
        width="stretch",
        on_select="rerun",
        selection_mode="points",
        config=_CONFIG,
        alt=alt,
    )
    for point in event.get("selection", {}).get("points", ()):
        marked = point.get("customdata")
        if isinstance(marked, list | tuple):
            return list(marked)
    return None


def _read_labels(marked: list[Any] | None, count: int, num_classes: int) -> list[int] | None:
    """Return the labels of a mark that was clicked, or None where they are none."""
    labels = (marked or [])[:count]
    is_sound = len(labels) == count and all(
        isinstance(one, int) and 0 <= one < num_classes for one in labels
    )
    return labels if is_sound else None


def choose_worst(counts: NDArray[np.int64], limit: int = MOST_CLASSES) -> list[int]:
    """Return the classes that a chart of pairs should show, in their order.

    All of them where there is room; else those whose labels are contradicted most, or contradict.
    """
    disputed = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
    worst = np.argsort(-disputed, kind="stable")[:limit]
    return sorted(worst.tolist())


def draw_confusion(
    counts: NDArray[np.int64], classes: Sequence[str], *, across: str, key: str
) -> list[int] | None:
    """Draw how often each given label (down) met each predicted or suggested one (across).

    Args:
        counts: Examples, shape ``(K, K)``, given by predicted.
        classes: Names of the ``K`` classes.
        across: What the labels across are: "predicted" or "suggested".
        key: Widget key.

    Returns:
        The given and the other label of the cell that was clicked, or None.
    """
    shown = choose_worst(counts)
    names = _names([classes[label] for label in shown])
    # plotly draws category axes by distinct names, so positions carry the ticks.
    positions = list(range(len(names)))
    figure = go.Figure(_cells(counts[np.ix_(shown, shown)], shown, names, across))
    figure.update_xaxes(
        title=across,
        tickvals=positions,
        ticktext=names,
        tickangle=-40 if len(names) * max(map(len, names), default=0) > _LEVEL_NAMES else 0,
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(
        title="given",
        tickvals=positions,
        ticktext=names,
        autorange="reversed",
        showgrid=False,
        zeroline=False,
    )
    figure.update_layout(
        height=max(300, 60 + _CELL * len(names)),
        margin=MARGIN,
        showlegend=False,
        clickmode="event+select",
    )
    alt = f"How often each given label met each {across} one; the pairs are listed beside it"
    return _read_labels(choose_in_figure(figure, key, alt=alt), 2, len(classes))


def _cells(
    counts: NDArray[np.int64], labels: Sequence[int], names: Sequence[str], across: str
) -> list[Any]:
    """Return a heat map, and marks upon its cells: a heat map itself cannot be clicked."""
    # The agreeing diagonal holds nine of ten examples: coloured by its own scale, the cells that
    # a reviewer looks for would all be as pale as zero.
    off_diagonal = counts.astype(float)
    np.fill_diagonal(off_diagonal, np.nan)
    positions = list(range(len(names)))
    scale, most = read_scale(), max(1.0, float(np.nanmax(off_diagonal, initial=0.0)))
    cells = go.Heatmap(
        z=off_diagonal,
        x=positions,
        y=positions,
        zmin=0,
        zmax=most,
        colorscale=scale,
        hoverinfo="skip",
        showscale=False,
        xgap=1,
        ygap=1,
    )
    inks = choose_inks(scale, off_diagonal / most)
    pairs = [(given, seen) for given in positions for seen in positions]
    unseen = {"marker": {"opacity": 0}}
    marks = go.Scatter(
        x=[seen for _, seen in pairs],
        y=[given for given, _ in pairs],
        mode="markers+text",
        text=[int(counts[pair]) for pair in pairs],
        textfont={"color": [str(inks[pair]) or read_ink() for pair in pairs]},
        marker={"symbol": "square", "size": _CELL - 6, "opacity": 0},
        selected=unseen,
        unselected=unseen,
        customdata=[
            [labels[given], labels[seen], names[given], names[seen], int(counts[given, seen])]
            for given, seen in pairs
        ],
        hovertemplate=(
            f"given %{{customdata[2]}}<br>{across} %{{customdata[3]}}<br>%{{customdata[4]}} "
            "examples<extra></extra>"
        ),
    )
    return [cells, marks]


def draw_class_balance(
    given: Sequence[int],
    current: Sequence[int],
    classes: Sequence[str],
    *,
    shown: Sequence[int],
    key: str,
) -> int | None:
    """Draw the examples a class holds by the given labels and by the labels as they stand now.

    Args:
        given: Examples of each of the ``K`` classes.
        current: The same by the labels in force.
        classes: Their names.
        shown: The classes that are drawn.
        key: Widget key.

    Returns:
        The class whose bar was clicked, or None.
    """
    names = _names([classes[label] for label in shown])
    positions = list(range(len(names)))
    figure = go.Figure()
    series = [("given", [given[label] for label in shown])]
    if list(given) != list(current):
        series.append(("as reviewed", [current[label] for label in shown]))
    for name, counts in series:
        figure.add_trace(
            go.Bar(
                name=name,
                x=counts,
                y=positions,
                orientation="h",
                customdata=[list(pair) for pair in zip(shown, names, strict=True)],
                hovertemplate="%{customdata[1]}: %{x} examples<extra>" + name + "</extra>",
            )
        )
    figure.update_yaxes(tickvals=positions, ticktext=names, autorange="reversed")
    figure.update_xaxes(title="train examples", rangemode="tozero")
    row = _BAR_HEIGHT if len(series) == 1 else 1.3 * _BAR_HEIGHT
    height = round(max(220, 80 + row * len(names)))
    figure.update_layout(
        height=height,
        margin=MARGIN | ({"t": 44} if len(series) > 1 else {}),
        showlegend=len(series) > 1,
        legend=LEGEND_ABOVE,
        bargap=0.25,
        clickmode="event+select",
    )
    marked = choose_in_figure(figure, key, alt="Train examples of each class, as a bar for each")
    label = _read_labels(marked, 1, len(classes))
    return label[0] if label else None


def draw_probabilities(
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
    *,
    given: int | None,
    key: str,
    limit: int = 10,
) -> None:
    """Draw the model's probabilities, the likeliest classes first, the given label marked.

    Args:
        probabilities: Shape ``(K,)``.
        classes: Names of the ``K`` classes.
        given: The label to mark, or None.
        key: Widget key.
        limit: At most so many classes.
    """
    order = list(np.argsort(-probabilities, kind="stable")[:limit])
    if given is not None and given not in order:
        order[-1] = given
    names = [_names(classes)[index] + (" (given)" if index == given else "") for index in order]
    positions = list(range(len(order)))
    values = [float(probabilities[index]) for index in order]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=positions,
            orientation="h",
            text=[f"{value:.1%}" for value in values],
            textposition="outside",
            cliponaxis=False,
            marker={"opacity": [1.0 if index == given else 0.55 for index in order]},
            customdata=names,
            hovertemplate="%{customdata}: %{x:.2%}<extra></extra>",
        )
    )
    figure.update_yaxes(tickvals=positions, ticktext=names, autorange="reversed")
    figure.update_xaxes(range=[0, 1.15], tickformat=".0%", tickvals=[0, 0.5, 1], tickangle=0)
    figure.update_layout(height=60 + _BAR_HEIGHT * len(order), margin=MARGIN, showlegend=False)
    draw_figure(figure, key)


def _names(classes: Sequence[str]) -> list[str]:
    return [escape_plotly(isolate(shorten(name, _NAME_LENGTH))) for name in classes]


def draw_value_histogram(
    edges: Sequence[float],
    given: Sequence[int],
    current: Sequence[int],
    *,
    target: str,
    key: str,
) -> tuple[float, float] | None:
    """Draw how many train examples have which value, as given and as reviewed.

    Args:
        edges: Of the bins, in the target's unit, shape ``(B + 1,)``.
        given: Examples in each bin by the given values, shape ``(B,)``.
        current: The same by the values as they stand now.
        target: Name of the number.
        key: Widget key.

    Returns:
        The ends of the bar that was clicked, or None.
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
                customdata=[[place] for place in range(len(centres))],
                hovertemplate="about %{x:,.6g}: %{y} examples<extra>" + name + "</extra>",
            )
        )
    figure.update_xaxes(title=_title(target))
    figure.update_yaxes(title="train examples", rangemode="tozero")
    figure.update_layout(
        height=_VALUE_HEIGHT,
        margin=MARGIN | ({"t": 44} if len(series) > 1 else {}),
        bargap=0.05,
        barmode="overlay" if len(series) > 1 else "group",
        showlegend=len(series) > 1,
        legend=LEGEND_ABOVE,
    )
    if len(series) > 1:
        figure.update_traces(opacity=0.65)
    figure.update_layout(clickmode="event+select")
    alt = f"How many train examples have which {shorten(target, _VALUE_NAME_LENGTH)}"
    place = _read_labels(choose_in_figure(figure, key, alt=alt), 1, len(centres))
    return (edges[place[0]], edges[place[0] + 1]) if place else None


def draw_predictions(
    given: Sequence[float],
    predicted: Sequence[float],
    examples: Sequence[int],
    *,
    target: str,
    key: str,
) -> tuple[int, int | None]:
    """Draw each example's given number against the prediction; the line is agreement.

    Args:
        given: The numbers that the data claims.
        predicted: What the model predicts in their place.
        examples: Whose they are.
        target: Name of the number.
        key: Widget key.

    Returns:
        How many of them lie beyond the chart, which ends where nearly all numbers do, and the
        example whose mark was clicked, or None.
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
            marker={"size": 6, "opacity": 0.6},
            customdata=[[one] for one in examples],
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
    figure.update_layout(
        height=_VALUE_HEIGHT, margin=MARGIN, showlegend=False, clickmode="event+select"
    )
    alt = "Given numbers against the model’s predictions; far from the line the two differ"
    marked = choose_in_figure(figure, key, alt=alt)
    return beyond, marked[0] if marked and marked[0] in examples else None


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
    figure.add_hline(y=given, line_dash="dot", line_color=read_ink(), annotation_text="given")
    figure.update_xaxes(title="training step", showgrid=False, rangemode="tozero")
    figure.update_yaxes(title=_title(target))
    figure.update_layout(height=270, margin=MARGIN | {"t": 44}, legend=LEGEND_ABOVE)
    draw_figure(figure, key)


def _title(target: str) -> str:
    return escape_plotly(shorten(target or "value", _VALUE_NAME_LENGTH))


def draw_checkpoints(
    scores: Mapping[str, NDArray[np.float32]],
    steps: Sequence[int],
    *,
    quantity: str,
    key: str,
) -> None:
    """Draw an example's scores by the attribution method at each checkpoint.

    Args:
        scores: By their names, arrays of shape ``(C,)``.
        steps: Training step of each checkpoint.
        quantity: What the scores are.
        key: Widget key.
    """
    figure = go.Figure()
    for score, name in title_scores(scores).items():
        figure.add_trace(
            go.Scatter(
                name=name,
                x=list(steps),
                y=scores[score].tolist(),
                mode="lines+markers",
                hovertemplate="step %{x}: %{y:.4g}<extra>" + name + "</extra>",
            )
        )
    figure.update_xaxes(title="training step", showgrid=False, rangemode="tozero")
    figure.update_yaxes(title=quantity, rangemode="tozero")
    figure.update_layout(
        height=270, margin=MARGIN | {"t": 44}, showlegend=True, legend=LEGEND_ABOVE
    )
    draw_figure(figure, key)
