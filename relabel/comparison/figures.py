"""The pictures of a comparison, as plotly figures that pages, documents and files share.

Titles of methods and names of classes may be data: whoever calls escapes them for plotly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from relabel.comparison.checkpoints import FoundByClass
from relabel.comparison.curves import GRID, CurveBand, MislabelCurve

# Okabe and Ito's colours, told apart by people with any colour vision; without their yellow, which
# is pale on white. Beyond them the dashes tell lines apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A5A2B")
_DASHES = ("solid", "dash", "dashdot", "longdash")
_GREY = "#7f7f7f"
_SCALE = ("#f3f7fc", "#82add8", "#16417a")  # from little to much
_CHECKPOINT_COLOURS = ("#a4c4e4", "#2a629f")  # from the first to the last
_MARGIN = {"l": 8, "r": 16, "t": 40, "b": 8}  # pixels; the toolbar stands above the chart
_INK_CHANGES = 0.74  # of the scale, from where white is read better than black
_NEARLY_ALL, _LEAST_SHOWN = 0.98, 0.2  # shares of the wrong labels, and of the train examples
_BETTER_THAN_CHANCE = 0.6  # area under a curve
MOST_CLASSES = 15  # that a chart can name side by side


def draw_curves(curves: Mapping[str, MislabelCurve | CurveBand]) -> go.Figure:
    """Return mislabel curves of methods, best first, with a random order beside them.

    Args:
        curves: By the methods' titles; of several seeds the range is shaded. Shown is the part in
            which they differ; the whole is there, a double click away.
    """
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            name="random order",
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": _GREY, "dash": "dot", "width": 1.5},
            hoverinfo="skip",
        )
    )
    for number, (title, curve) in enumerate(rank_curves(curves)):
        colour = COLOURS[number % len(COLOURS)]
        dash = _DASHES[number // len(COLOURS) % len(_DASHES)]
        if isinstance(curve, CurveBand):
            _shade_range(figure, curve, colour)
        middle = curve.mean if isinstance(curve, CurveBand) else curve
        figure.add_trace(
            go.Scatter(
                name=title,
                x=GRID.tolist(),
                y=middle.found.round(5).tolist(),
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2},
                hovertemplate="%{y:.1%} found in %{x:.1%}<extra>" + title + "</extra>",
            )
        )
    shown = [0, find_end(list(curves.values()))]
    figure.update_xaxes(title="train examples inspected", tickformat=".0%", range=shown)
    figure.update_yaxes(title="wrong labels found", tickformat=".0%", range=[0, 1.02])
    figure.update_layout(height=440, margin=_MARGIN, hovermode="closest")
    return figure


def find_end(curves: Sequence[MislabelCurve | CurveBand]) -> float:
    """Return the share inspected up to which a picture shows curves, 0 to 1.

    A random order, where it is one of the methods, does not stretch it: it is a line anyway.
    """
    means = [curve.mean if isinstance(curve, CurveBand) else curve for curve in curves]
    ends = [float(GRID[np.argmax(one.found >= _NEARLY_ALL)]) for one in means]
    useful = [end for end, one in zip(ends, means, strict=True) if one.area > _BETTER_THAN_CHANCE]
    return float(np.clip(1.3 * max(useful, default=1.0), _LEAST_SHOWN, 1.0))


def rank_curves(
    curves: Mapping[str, MislabelCurve | CurveBand],
) -> list[tuple[str, MislabelCurve | CurveBand]]:
    """Return curves with their titles, that with the largest area first."""

    def read_area(entry: tuple[str, MislabelCurve | CurveBand]) -> float:
        curve = entry[1]
        return -(curve.mean.area if isinstance(curve, CurveBand) else curve.area)

    return sorted(curves.items(), key=read_area)


def _shade_range(figure: go.Figure, band: CurveBand, colour: str) -> None:
    """Draw the range over the seeds behind their mean."""
    figure.add_trace(
        go.Scatter(
            x=[*GRID, *GRID[::-1]],
            y=[*band.high, *band.low[::-1]],
            fill="toself",
            fillcolor=colour,
            opacity=0.18,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
    )


def draw_found_by_class(
    counted: FoundByClass, classes: Sequence[str], checkpoints: Sequence[str]
) -> go.Figure:
    """Return the share of each class's wrong labels that each checkpoint alone ranks first.

    Args:
        counted: What was counted, of C checkpoints and L classes.
        classes: Names of the classes; those with most wrong labels are shown where there are many.
        checkpoints: Names of the checkpoints, such as "step 40".
    """
    shown = choose_classes(counted)
    # plotly draws category axes by distinct names, so positions carry the ticks.
    positions = list(range(len(shown)))
    figure = go.Figure()
    for number, checkpoint in enumerate(checkpoints):
        figure.add_trace(
            go.Bar(
                name=checkpoint,
                x=positions,
                y=counted.shares[number, shown].tolist(),
                marker={"color": mix_checkpoint(number, len(checkpoints))},
                customdata=np.stack([counted.found[number, shown], counted.wrong[shown]], axis=1),
                hovertemplate="%{customdata[0]:.3~f} of %{customdata[1]}: %{y:.0%}"
                "<extra>" + checkpoint + "</extra>",
            )
        )
    figure.add_hline(y=counted.top_share, line={"color": _GREY, "dash": "dot", "width": 1.5})
    figure.update_xaxes(
        title="label that they carry", tickvals=positions, ticktext=[classes[one] for one in shown]
    )
    found_in = f"wrong labels in the first {counted.top_share:.0%}"
    figure.update_yaxes(title=found_in, tickformat=".0%", range=[0, 1.02])
    figure.update_layout(height=360, margin=_MARGIN, barmode="group", showlegend=True)
    return figure


def choose_classes(counted: FoundByClass) -> list[int]:
    """Return the classes that have wrong labels; where these are many, those with most of them."""
    most = np.argsort(-counted.wrong, kind="stable")[:MOST_CLASSES]
    return sorted(label for label in most.tolist() if counted.wrong[label])


def mix_checkpoint(number: int, count: int) -> str:
    """Return a checkpoint's colour, darker the later it is."""
    part = number / max(count - 1, 1)
    first, last = ([int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in _CHECKPOINT_COLOURS)
    mixed = (round(a + part * (b - a)) for a, b in zip(first, last, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def draw_agreement(matrix: npt.NDArray[np.float64], titles: Sequence[str]) -> go.Figure:
    """Return how far each two methods name the same proponents.

    Args:
        matrix: Mean overlaps, 0 to 1, shape ``(A, A)``; NaN where not known.
        titles: Of the A methods.
    """
    positions = list(range(len(titles)))
    figure = go.Figure(
        go.Heatmap(
            z=matrix.tolist(),
            x=positions,
            y=positions,
            zmin=0,
            zmax=1,
            colorscale=[[place / 2, colour] for place, colour in enumerate(_SCALE)],
            colorbar={"tickformat": ".0%"},
            xgap=2,
            ygap=2,
            customdata=[[[down, across] for across in titles] for down in titles],
            hovertemplate="%{customdata[0]} and %{customdata[1]}: %{z:.0%}<extra></extra>",
        )
    )
    for down, across in np.ndindex(matrix.shape):
        value = float(matrix[down, across])
        if np.isfinite(value):
            ink = "#ffffff" if value > _INK_CHANGES else "#000000"
            figure.add_annotation(
                x=across, y=down, text=f"{value:.0%}", showarrow=False, font={"color": ink}
            )
    figure.update_xaxes(tickvals=positions, ticktext=list(titles), showgrid=False, tickangle=-35)
    figure.update_yaxes(
        tickvals=positions, ticktext=list(titles), showgrid=False, autorange="reversed"
    )
    figure.update_layout(height=max(300, 140 + 44 * len(titles)), margin=_MARGIN)
    return figure
