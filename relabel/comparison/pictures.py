"""The pictures of a comparison as SVG and PNG, drawn without a browser.

They show what ``figures`` does, of a slide's size; a plotly figure itself becomes a picture only in
a browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from relabel.comparison.checkpoints import FoundByClass
from relabel.comparison.curves import GRID, CurveBand, MislabelCurve
from relabel.comparison.figures import COLOURS, choose_classes, mix_checkpoint, rank_curves
from relabel.worth.report.drawing import FAINT, HEIGHT, WIDTH, Drawing, Point, fit
from relabel.worth.report.drawing import GRID as RULE

_LEFT, _RIGHT, _TOP, _BOTTOM = 90.0, WIDTH - 300.0, 100.0, HEIGHT - 64.0
_ROW = 26.0  # of a legend
_PALE, _DARK = (243, 247, 252), (22, 65, 122)  # of the agreement's scale
_INK_CHANGES = 0.7  # of that scale, from where white is read better than black
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def _begin(name: str, title: str, description: str) -> Drawing:
    drawing = Drawing(name, title, description)
    drawing.text(24, 40, fit(title, WIDTH - 48, 26), size=26, bold=True)
    drawing.text(24, 68, fit(description, WIDTH - 48, 17), size=17, fill=FAINT)
    return drawing


def _place(across: float, up: float) -> Point:
    return _LEFT + (_RIGHT - _LEFT) * across, _BOTTOM - (_BOTTOM - _TOP) * up


def _rule(drawing: Drawing) -> None:
    """Draw lines at the quarters of a share from 0 to 1."""
    for tick in _TICKS:
        x, y = _place(0, tick)
        drawing.line([(x, y), (_RIGHT, y)], RULE, 1)
        drawing.text(x - 10, y + 5, f"{tick:.0%}", size=15, fill=FAINT, anchor="end")


def picture_curves(curves: Mapping[str, MislabelCurve | CurveBand]) -> Drawing:
    """Return the mislabel curves of methods, by their titles."""
    told = "Share of all wrong labels found, by the share of train examples inspected"
    drawing = _begin("curves", "How fast each method finds wrong labels", told)
    _rule(drawing)
    for tick in _TICKS:
        x, _ = _place(tick, 0)
        drawing.text(x, _BOTTOM + 24, f"{tick:.0%}", size=15, fill=FAINT, anchor="middle")
    drawing.text(
        (_LEFT + _RIGHT) / 2, HEIGHT - 14, "inspected", size=15, fill=FAINT, anchor="middle"
    )
    drawing.line([_place(0, 0), _place(1, 1)], FAINT, 1.5, dashed=True)
    drawing.text(*_place(0.62, 0.55), "random order", size=15, fill=FAINT)
    for number, (title, curve) in enumerate(rank_curves(curves)):
        colour = COLOURS[number % len(COLOURS)]
        dashed = number >= len(COLOURS)
        if isinstance(curve, CurveBand):
            upper = [_place(x, y) for x, y in zip(GRID, curve.high, strict=True)]
            lower = [_place(x, y) for x, y in zip(GRID, curve.low, strict=True)]
            drawing.area([*upper, *lower[::-1]], colour, 0.18)
        middle = curve.mean if isinstance(curve, CurveBand) else curve
        points = [_place(x, y) for x, y in zip(GRID, middle.found, strict=True)]
        drawing.line(points, colour, 2.5, dashed=dashed)
        y = _TOP + 12 + _ROW * number
        drawing.line([(_RIGHT + 20, y - 5), (_RIGHT + 48, y - 5)], colour, 3, dashed=dashed)
        drawing.text(_RIGHT + 56, y, fit(title, 232, 15), size=15)
    return drawing


def picture_found_by_class(
    counted: FoundByClass, classes: Sequence[str], checkpoints: Sequence[str]
) -> Drawing:
    """Return what each checkpoint alone finds of each class; arguments as for the figure."""
    told = (
        f"Share of each class's wrong labels among the first {counted.top_share:.0%} by the "
        "self-influence of one checkpoint"
    )
    drawing = _begin("classes", "What each checkpoint finds", told)
    _rule(drawing)
    shown = choose_classes(counted)
    width = (_RIGHT - _LEFT) / max(len(shown), 1)
    bar = width * 0.8 / len(checkpoints)
    for place, label in enumerate(shown):
        begin = _LEFT + width * (place + 0.1)
        for number in range(len(checkpoints)):
            top = _place(0, float(counted.shares[number, label]))[1]
            if _BOTTOM - top >= 1:  # what has no height is no box
                colour = mix_checkpoint(number, len(checkpoints))
                drawing.box(begin + bar * number, top, bar, _BOTTOM - top, colour)
        name = fit(classes[label], width, 14)
        drawing.text(
            _LEFT + width * (place + 0.5), _BOTTOM + 22, name, size=14, fill=FAINT, anchor="middle"
        )
    drawing.text(
        (_LEFT + _RIGHT) / 2,
        HEIGHT - 14,
        "label that they carry",
        size=15,
        fill=FAINT,
        anchor="middle",
    )
    y = _place(0, counted.top_share)[1]
    drawing.line([(_LEFT, y), (_RIGHT, y)], FAINT, 1.5, dashed=True)
    for number, name in enumerate(checkpoints):
        top = _TOP + _ROW * number
        drawing.box(_RIGHT + 20, top, 18, 14, mix_checkpoint(number, len(checkpoints)))
        drawing.text(_RIGHT + 48, top + 13, fit(name, 240, 15), size=15)
    return drawing


def picture_agreement(matrix: npt.NDArray[np.float64], titles: Sequence[str]) -> Drawing:
    """Return how far each two methods name the same proponents; arguments as for the figure."""
    told = "Mean share of the ten strongest proponents of an example that two methods both name"
    drawing = _begin("agreement", "Which methods name the same proponents", told)
    left, top = 300.0, 130.0
    wide, high = (WIDTH - 40 - left) / len(titles), (HEIGHT - 30 - top) / len(titles)
    for down, across in np.ndindex(matrix.shape):
        value = float(matrix[down, across])
        if not np.isfinite(value):
            continue
        x, y = left + wide * across, top + high * down
        mixed = (round(a + value * (b - a)) for a, b in zip(_PALE, _DARK, strict=True))
        drawing.box(x + 1, y + 1, wide - 2, high - 2, "#" + "".join(f"{one:02x}" for one in mixed))
        ink = "#ffffff" if value > _INK_CHANGES else "#000000"
        middle = y + high / 2 + 5
        drawing.text(x + wide / 2, middle, f"{value:.0%}", size=15, fill=ink, anchor="middle")
    for number, title in enumerate(titles):
        middle = top + high * (number + 0.5) + 5
        numbered = f"{number + 1}  {title}"
        drawing.text(left - 12, middle, fit(numbered, left - 36, 15), size=15, anchor="end")
        x = left + wide * (number + 0.5)
        drawing.text(x, top - 10, f"{number + 1}", size=15, fill=FAINT, anchor="middle")
    return drawing
