"""Every text can be read against its ground, in both themes: computed colours of a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from scripts.serving import Server, wait_until_idle

pytestmark = pytest.mark.browser

LIMIT = 4.5  # WCAG 2.2, level AA, for text of any size
MEASURE = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
ADDRESSES = [
    *(f"/{page}?project=digits" for page in ("projects", "runs", "overview", "inspect", "history")),
    *(f"/{page}?project=docs" for page in ("queue", "review")),
]
# What is chosen is written in another colour, so the measure must have seen some.
CHOSEN = {"/inspect?project=digits": "An example", "/review?project=docs": "All layers"}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_has_enough_contrast(
    browser: Browser, standing_server: Server, theme: Literal["dark", "light"]
):
    context = browser.new_context(viewport={"width": 1366, "height": 1000}, color_scheme=theme)
    context.set_default_timeout(20_000)
    page = context.new_page()
    faint = {}
    try:
        for address in ADDRESSES:
            page.goto(standing_server.url + address)
            wait_until_idle(page)
            page.wait_for_timeout(500)  # transitions of what has just been drawn
            if address in CHOSEN:
                page.get_by_role("radio", name=CHOSEN[address], checked=True).wait_for()
            # Twice the limit finds something everywhere: the measure sees the page.
            assert page.evaluate(MEASURE, 2 * LIMIT)
            if found := page.evaluate(MEASURE, LIMIT):
                faint[address] = found
    finally:
        context.close()
    assert faint == {}
