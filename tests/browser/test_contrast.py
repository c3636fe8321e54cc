"""Every text can be read against its ground, in both themes, and heard in its order and by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

LIMIT = 4.5  # WCAG 2.2, level AA, for text of any size
MEASURE = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
STRUCTURE = (Path(__file__).parent / "structure.js").read_text(encoding="utf-8")
ADDRESSES = [
    *(f"/{page}?project=digits" for page in ("projects", "runs", "overview", "inspect", "history")),
    *(f"/{page}?project=docs" for page in ("queue", "review")),
]
# What is chosen is written in another colour, so the measure must have seen some.
CHOSEN = {"/inspect?project=digits": "An example", "/review?project=docs": "Cosine"}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_has_enough_contrast_and_every_name_holds_what_is_seen(
    page: Page, look_at: Callable[..., None], theme: Literal["dark", "light"]
):
    page.set_viewport_size({"width": 1366, "height": 1000})
    page.emulate_media(color_scheme=theme)
    faint = {}
    for address in ADDRESSES:
        look_at(page, address)
        page.wait_for_timeout(500)  # transitions of what has just been drawn
        if address in CHOSEN:
            page.get_by_role("radio", name=CHOSEN[address], checked=True).wait_for()
        # Twice the limit finds something everywhere: the measure sees the page.
        near = page.evaluate(MEASURE, 2 * LIMIT)
        assert near
        if found := [text for text in near if text[1] < LIMIT]:
            faint[address] = found
        assert page.evaluate(STRUCTURE) == [], address
    assert is_dark(page) == (theme == "dark")
    assert faint == {}


def is_dark(page: Page) -> bool:
    """Whether the page is drawn in the dark theme."""
    ground = page.locator("[data-testid=stApp]").evaluate(
        "e => getComputedStyle(e).backgroundColor"
    )
    red, green, blue = map(int, re.findall(r"\d+", ground)[:3])
    return red + green + blue < 3 * 128
