"""How long a person waits for the queue: until the first row can be seen in a real browser.

Opened by its address in a browser that has never seen it, in one that has it in its cache, and in
a profile that is kept on the disk and was used before, as people's browsers are: there the
compiled program is kept too. Then reached as people mostly do, from another page of the app.

Beside each stands a Streamlit page with nothing but a title, in the same browser and the same
minutes, because most of the wait is Streamlit's own: its program, a connection, a first run.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

from benchmarks.empty_pages import serve_empty_page, serve_two_empty_pages
from benchmarks.page_clock import WAIT, install_clock, read_clock
from scripts.serving import Server, launch_browser, launch_profile, wait_until_idle

REPEATS = 9
# Visits until Chromium keeps the compiled program of a profile: it does so from the third on.
VISITS = 4
EMPTY, COLD, WARM, KEPT = "empty page", "empty cache", "cache filled", "profile used before"
INSIDE = "within the app"
FIRST_ROW, ROW_OF_NEXT_PAGE = (
    "[role=option][data-rank='1']",
    "[role=option][data-rank='51']",
)


@dataclass(frozen=True)
class Target:
    """A page and what must be visible for it to count as there.

    Attributes:
        url: Its address.
        selector: Of the element that is waited for, in CSS.
    """

    url: str
    selector: str


@dataclass(frozen=True)
class Step:
    """A way from one page to another within the app.

    Attributes:
        start: Address of the page before.
        click: Selector of what is pressed there.
        selector: Of the element that is waited for, in CSS.
    """

    start: str
    click: str
    selector: str


Waits = Mapping[str, list[float]]


def measure_waits(workspace: Path) -> Waits:
    """Return how long each opening took, in milliseconds, by page and state of the browser.

    The pages take turns, so that other work on the machine hits them alike.

    Args:
        workspace: A folder whose database has one scored project of 100,000 examples or more.
    """
    server = Server(workspace)
    with (
        sync_playwright() as playwright,
        serve_empty_page() as empty_url,
        serve_two_empty_pages() as two_url,
    ):
        browser = launch_browser(playwright)
        try:
            server.start()
            targets = {
                "queue": Target(f"{server.url}/queue", FIRST_ROW),
                "queue, page 2,000": Target(f"{server.url}/queue?page=2000", "button[data-id]"),
                EMPTY: Target(empty_url, "h1"),
            }
            steps = {
                f"queue from another page, {INSIDE}": Step(
                    f"{server.url}/projects", _link_to("Queue"), FIRST_ROW
                ),
                f"the queue's next page, {INSIDE}": Step(
                    f"{server.url}/queue?project=docs",
                    "[data-testid=stPaginationNext]",
                    ROW_OF_NEXT_PAGE,
                ),
                f"{EMPTY}, {INSIDE}": Step(two_url, _link_to("Other"), "h1#other"),
            }
            waits = _open_in_turns(playwright, browser, targets)
            return waits | _walk_in_turns(browser, steps)
        finally:
            browser.close()
            server.stop()


def _link_to(name: str) -> str:
    return f"[data-testid=stSidebarNavLink]:has-text('{name}')"


def _open_in_turns(
    playwright: Playwright, browser: Browser, targets: Mapping[str, Target]
) -> dict[str, list[float]]:
    waits: dict[str, list[float]] = defaultdict(list)
    with _profiles(playwright, targets) as kept:
        warm = {name: _new_context(browser) for name in targets}
        for _ in range(VISITS):  # the first also fills the server's caches
            for name, target in targets.items():
                wait_for(warm[name], target)
                wait_for(kept[name], target)
        for _ in range(REPEATS):
            for name, target in targets.items():
                waits[f"{name}, {COLD}"].append(open_once(browser, target))
                waits[f"{name}, {WARM}"].append(wait_for(warm[name], target))
                waits[f"{name}, {KEPT}"].append(wait_for(kept[name], target))
    return waits


@contextmanager
def _profiles(
    playwright: Playwright, targets: Mapping[str, Target]
) -> Iterator[dict[str, BrowserContext]]:
    """Give each target a browser of its own with a profile on the disk."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        opened = {
            name: launch_profile(playwright, Path(folder) / str(number))
            for number, name in enumerate(targets)
        }
        for context in opened.values():
            install_clock(context)
        try:
            yield opened
        finally:
            for context in opened.values():
                context.close()


def _walk_in_turns(browser: Browser, steps: Mapping[str, Step]) -> dict[str, list[float]]:
    waits: dict[str, list[float]] = defaultdict(list)
    contexts = {name: _new_context(browser) for name in steps}
    for repeat in range(REPEATS + 1):
        for name, step in steps.items():
            elapsed = walk(contexts[name], step)
            if repeat:  # the first fills the caches
                waits[name].append(elapsed)
    return waits


def _new_context(browser: Browser) -> BrowserContext:
    context = browser.new_context()
    install_clock(context)
    return context


def open_once(browser: Browser, target: Target) -> float:
    """Return the milliseconds until the page is there, in a browser that has never seen it."""
    context = _new_context(browser)
    try:
        return wait_for(context, target)
    finally:
        context.close()


def wait_for(context: BrowserContext, target: Target) -> float:
    """Open the page in a new tab and return the milliseconds until it is there."""
    page = context.new_page()
    page.goto(target.url, wait_until="commit")
    elapsed = read_clock(page, target.selector)
    page.close()
    return elapsed


def walk(context: BrowserContext, step: Step) -> float:
    """Press what leads to the page, and return the milliseconds until it is there."""
    page = context.new_page()
    page.goto(step.start)
    page.locator(step.click).wait_for(timeout=WAIT)
    wait_until_idle(page)
    page.locator(step.click).click()
    elapsed = read_clock(page, step.selector)
    page.close()
    return elapsed


def print_waits(workspace: Path) -> None:
    """Print a table of the waits, the queue's beside the empty page's."""
    waits = measure_waits(workspace)
    print(
        "\n| opened in a browser | seconds, median (slowest) | times an empty page |\n|---|---|---|"
    )
    for name, times in waits.items():
        beside = waits[f"{EMPTY}, {name.rpartition(', ')[2]}"]
        share = statistics.median(times) / statistics.median(beside)
        median, slowest = statistics.median(times) / 1000, max(times) / 1000
        print(f"| {name} | {median:.2f} ({slowest:.2f}) | {share:.1f} |")
