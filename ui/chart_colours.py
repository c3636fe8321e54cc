"""Colours of the charts: words that can be read on their ground, in both themes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

# Of black and white one is at least 4.58:1 on any colour.
DARK_INK, LIGHT_INK = "#000000", "#ffffff"
# Where the configuration has none, as in somebody else's `config.toml`.
_USUAL_SCALE = ("#f3f7fc", "#16417a")


def dress_figure(figure: go.Figure) -> go.Figure:
    """Write all words of a chart in the colour of text; Streamlit's own grey is 3.6:1."""
    ink = read_ink()
    axis = {"tickfont": {"color": ink}, "title_font": {"color": ink}}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_layout(font={"color": ink}, legend_font={"color": ink})
    return figure


def read_ink() -> str:
    """Return the colour of text, as ``#rrggbb``."""
    usual = LIGHT_INK if st.context.theme.type == "dark" else DARK_INK
    return str(_option("textColor") or usual)


def read_scale() -> list[str]:
    """Return the colours of a scale from little to much, at least two, as ``#rrggbb``."""
    colours = _option("chartSequentialColors")
    if not isinstance(colours, list | tuple) or len(colours) < 2:
        colours = _USUAL_SCALE
    return [str(one) for one in colours]


def choose_inks(scale: Sequence[str], shares: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return which ink can be read on each colour of a scale.

    Args:
        scale: Colours at equal distances, as ``#rrggbb``.
        shares: Places on the scale, 0 to 1; NaN where the ground is the page's own.

    Returns:
        Inks as ``#rrggbb``, or "" for the page's own, of the shape of ``shares``.
    """
    stops = np.array([_channels(one) for one in scale])
    places = np.linspace(0.0, 1.0, len(stops))
    mixed = np.stack(
        [np.interp(np.nan_to_num(shares), places, stops[:, one]) for one in range(3)], axis=-1
    )
    dark, light = (contrast(mixed, np.array(_channels(ink))) for ink in (DARK_INK, LIGHT_INK))
    inks = np.where(dark >= light, DARK_INK, LIGHT_INK)
    return np.where(np.isnan(shares), "", inks)


def contrast(colours: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the contrast of colours with another one, 1 to 21 (WCAG 2.2).

    Args:
        colours: Red, green and blue, 0 to 1, shape ``(..., 3)``.
        other: The same of one colour, shape ``(3,)``.
    """
    one, two = _luminance(colours), _luminance(other)
    return (np.maximum(one, two) + 0.05) / (np.minimum(one, two) + 0.05)


def _luminance(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance: NDArray[np.float64] = linear @ np.array([0.2126, 0.7152, 0.0722])
    return luminance


def _channels(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _option(name: str) -> object:
    theme = "dark" if st.context.theme.type == "dark" else "light"
    return st.get_option(f"theme.{theme}.{name}")
