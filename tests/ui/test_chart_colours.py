"""Words upon the marks of a chart can be read, whatever the mark's colour."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from relabel.workspace import REPOSITORY_ROOT
from ui.chart_colours import DARK_INK, LIGHT_INK, choose_inks, contrast

LIMIT = 4.5  # WCAG 2.2, level AA
THEME = tomllib.loads((REPOSITORY_ROOT / ".streamlit/config.toml").read_text())["theme"]


def channels(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ink_can_be_read_on_every_colour_of_the_scale(theme):
    scale = THEME[theme]["chartSequentialColors"]
    shares = np.linspace(0, 1, len(scale))
    for colour, ink in zip(scale, choose_inks(scale, shares), strict=True):
        assert contrast(channels(colour), channels(ink)) >= LIMIT, (colour, ink)


def test_the_ink_is_the_better_one_and_the_pages_own_on_its_ground():
    inks = choose_inks(["#ffffff", "#000000"], np.array([0.0, 1.0, np.nan]))
    assert inks.tolist() == [DARK_INK, LIGHT_INK, ""]
    assert contrast(np.ones(3), np.zeros(3)) == pytest.approx(21)
