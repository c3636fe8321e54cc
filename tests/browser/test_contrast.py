"""Every text can be read against its ground, in both themes, and all else is as axe wants it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from scripts.serving import Server, wait_until_idle
from tests.browser.conftest import go
from tests.browser.reviewed_demos import review_demos
from tests.conftest import copy_workspace

pytestmark = pytest.mark.browser

LIMIT = 4.5  # WCAG 2.2, level AA, for text of any size
MEASURE = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
ADDRESSES = [
    *("/projects?project=digits&show=import", "/projects?project=digits", "/runs?project=digits"),
    *("/overview?project=digits", "/queue?project=digits", "/inspect?project=digits"),
    *("/review?project=docs", "/history?project=docs", "/team?project=docs"),
    *("/compare?project=digits", "/value?project=docs"),
]
# What is chosen is written in another colour, so the measure must have seen some.
CHOSEN = {"/inspect?project=digits": "An example", "/review?project=docs": "Cosine"}
# What opens over a page, by the button that opens it.
OPENED = {
    "/projects?project=digits": ("Manage",),
    "/review?project=docs": ("Keys",),
    "/history?project=docs": ("What is in it", "Take the history away"),
}
# Everything but the contrast, which is measured otherwise; and, beside what axe looks at unasked,
# whether a name holds the words that are seen, as those need who speak to a page.
ASK_AXE = """
async () => {
  const rules = {"color-contrast": {enabled: false}, "label-content-name-mismatch": {enabled: true}}
  const found = await axe.run(document, {resultTypes: ["violations"], rules})
  const serious = found.violations.filter(one => one.impact !== "minor")
  return [
    found.passes.length,
    serious.map(one => [one.impact, one.id, one.nodes.map(node => node.html.slice(0, 200))]),
  ]
}
"""


@pytest.fixture(scope="module")
def reviewed_server(
    built_demos: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[Server]:
    """A server of the demos that two people have reviewed in part."""
    workspace = copy_workspace(built_demos, tmp_path_factory.mktemp("reviewed") / "workspace")
    with serve(review_demos(workspace, "digits", "docs")) as running:
        yield running


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_page_can_be_read_heard_and_spoken_to(
    page: Page, reviewed_server: Server, theme: Literal["dark", "light"]
):
    page.set_viewport_size({"width": 1366, "height": 1000})
    page.emulate_media(color_scheme=theme)
    faint, wrong = {}, {}
    for address in ADDRESSES:
        go(reviewed_server, page, address)
        page.wait_for_timeout(500)  # transitions of what has just been drawn
        if address in CHOSEN:
            page.get_by_role("radio", name=CHOSEN[address], checked=True).wait_for()
        if theme == "light":
            page.evaluate(AXE_SCRIPT)
        for opened in ("", *OPENED.get(address, ())):
            if opened:
                page.get_by_role("button", name=opened).first.click()
                wait_until_idle(page)
                page.wait_for_timeout(300)
            # Twice the limit finds something everywhere: the measure sees the page.
            near = page.evaluate(MEASURE, 2 * LIMIT)
            assert near
            faint[address, opened] = [text for text in near if text[1] < LIMIT]
            if theme == "light":  # what axe looks at is the same in both
                num_passed, wrong[address, opened] = page.evaluate(ASK_AXE)
                assert num_passed > 10
            if opened:
                page.keyboard.press("Escape")
    assert is_dark(page) == (theme == "dark")
    assert [*filter(lambda one: one[1], faint.items())] == []
    assert [*filter(lambda one: one[1], wrong.items())] == []


def is_dark(page: Page) -> bool:
    """Whether the page is drawn in the dark theme."""
    ground = page.locator("[data-testid=stApp]").evaluate(
        "e => getComputedStyle(e).backgroundColor"
    )
    red, green, blue = map(int, re.findall(r"\d+", ground)[:3])
    return red + green + blue < 3 * 128
