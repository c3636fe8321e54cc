"""How long a page in a browser takes, by the browser's own clock, to the frame.

Playwright's own waiting looks again after 20, 50, 100 and then every 500 ms: a page that is there
after 0.6 s would count as 0.8 or 1.3. Here every frame is looked at, also in shadow trees.
"""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import BrowserContext, Page

WAIT = 60_000  # milliseconds
_SCRIPT = Path(__file__).with_name("page_clock.js").read_text(encoding="utf-8")


def install_clock(context: BrowserContext) -> None:
    """Put the clock into every page that a context opens from now on."""
    context.add_init_script(_SCRIPT)


def read_clock(page: Page, selector: str) -> float:
    """Wait until something is seen.

    Args:
        page: Opened in a context that has the clock.
        selector: In CSS.

    Returns:
        Milliseconds from the beginning of the navigation, or from the last click in the page.
    """
    seen = page.wait_for_function(
        "selector => window.waited(selector)", arg=selector, polling="raf", timeout=WAIT
    )
    return float(seen.json_value())
