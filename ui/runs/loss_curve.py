"""The loss curve of a training, with its checkpoints on it, and an epoch in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from ui.charts import LEGEND_ABOVE, MARGIN, draw_figure
from ui.wording import escape_plotly, percent, score_text

_CURVE_HEIGHT = 300  # pixels, drawn or not: what stands below must not jump
_FAR_APART = 30  # times: the smaller curve's top is then within ten pixels of the axis
_REASON_LINE = 60  # characters
# Where nothing is learned by heart, one line lies on the other.
_DASHES = {"train_loss": "solid", "test_loss": "dot"}
Epoch = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CheckpointMark:
    """A checkpoint as a point on the curve.

    Attributes:
        epoch: When it was saved.
        train_loss: Its place on the curve; unknown for networks trained elsewhere.
        chosen: Whether it is scored with.
        reason: Why it is recommended; empty if it is not.
    """

    epoch: float
    train_loss: float | None
    chosen: bool
    reason: str


def draw_loss_curve(
    epochs: Sequence[Epoch],
    *,
    total: int,
    key: str,
    marks: Sequence[CheckpointMark] = (),
) -> None:
    """Draw train and test loss by epoch.

    Args:
        epochs: What the training recorded so far.
        total: Epochs it will have at most; the axis is as long from the start.
        key: Widget key.
        marks: Checkpoints to draw on the train loss.
    """
    if not epochs:
        st.skeleton(height=_CURVE_HEIGHT)
        return
    figure = go.Figure()
    for name, field in (("train loss", "train_loss"), ("test loss", "test_loss")):
        if any(epoch.get(field) is not None for epoch in epochs):
            figure.add_trace(_line(name, field, epochs, dash=_DASHES[field]))
    for trace in _mark_traces([mark for mark in marks if mark.train_loss is not None]):
        figure.add_trace(trace)
    figure.update_xaxes(title="epoch", range=[0, max(total, len(epochs)) + 0.5], showgrid=False)
    if _lie_far_apart(epochs):
        figure.update_yaxes(title="loss, by powers of ten", type="log", tickformat="~g")
    else:
        figure.update_yaxes(title="loss", rangemode="tozero")
    figure.update_layout(height=_CURVE_HEIGHT, margin=MARGIN | {"t": 44}, legend=LEGEND_ABOVE)
    draw_figure(figure, key)


def _lie_far_apart(epochs: Sequence[Epoch]) -> bool:
    """Return whether one curve would flatten the other, as an absurd number among the targets does.

    On a common scale the smaller one would be a line on the axis.
    """
    curves = [
        [float(epoch[name]) for epoch in epochs if epoch.get(name) is not None]
        for name in ("train_loss", "test_loss")
    ]
    if not all(curves) or min(map(min, curves)) <= 0:
        return False
    low, high = sorted(map(max, curves))
    return high > _FAR_APART * low


def _line(name: str, field: str, epochs: Sequence[Epoch], *, dash: str) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=[epoch.get("epoch") for epoch in epochs],
        y=[epoch.get(field) for epoch in epochs],
        mode="lines+markers" if len(epochs) == 1 else "lines",
        line={"dash": dash},
        customdata=[", ".join(describe_quality(epoch)) for epoch in epochs],
        hovertemplate="epoch %{x}: %{y:.4g}<br>%{customdata}<extra>" + name + "</extra>",
    )


def _mark_traces(marks: Sequence[CheckpointMark]) -> list[go.Scatter]:
    """Return a trace of the chosen checkpoints and one of the others; shape tells them apart."""
    groups = [
        ("scored with", [mark for mark in marks if mark.chosen], "diamond", 11),
        ("saved", [mark for mark in marks if not mark.chosen], "circle-open", 7),
    ]
    return [
        go.Scatter(
            name=name,
            x=[mark.epoch for mark in members],
            y=[mark.train_loss for mark in members],
            mode="markers",
            marker={"symbol": symbol, "size": size, "line": {"width": 1}},
            customdata=[_hover(mark) for mark in members],
            hovertemplate="%{customdata}<extra></extra>",
        )
        for name, members, symbol, size in groups
        if members
    ]


def _hover(mark: CheckpointMark) -> str:
    heading = f"checkpoint of epoch {mark.epoch:g}"
    lines = _wrap(f"recommended: {mark.reason}") if mark.reason else []
    return "<br>".join([heading, *(escape_plotly(line) for line in lines)])


def _wrap(text: str) -> list[str]:
    """Break a sentence into lines that a hover box has room for."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= _REASON_LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def describe_epoch(epoch: Epoch, total: int) -> str:
    """Return the state of a training after an epoch, in one line."""
    parts = [f"Epoch {epoch.get('epoch', 0):,} of {total:,}"]
    parts += [
        f"{name} {score_text(float(epoch[field]))}"
        for name, field in (("train loss", "train_loss"), ("test loss", "test_loss"))
        if epoch.get(field) is not None
    ]
    return " · ".join([*parts, *describe_quality(epoch)])


def describe_quality(epoch: Epoch) -> list[str]:
    """Return how well the model did on the test examples, in the words of its task."""
    said = []
    if epoch.get("test_accuracy") is not None:
        said.append(f"test accuracy {percent(float(epoch['test_accuracy']))}")
    if epoch.get("test_rmse") is not None:
        said.append(f"typical test error {score_text(float(epoch['test_rmse']))}")
    if epoch.get("test_r2") is not None:
        said.append(f"explained variance {percent(float(epoch['test_r2']))}")
    return said
