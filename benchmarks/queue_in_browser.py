"""How long a person waits for the queue: from the address to the first row that can be seen.

Beside it stands an empty Streamlit page in the same browser and the same minutes, because most of
the wait is Streamlit's own: its program, a connection, a first run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from scripts.serving import START_TIMEOUT, Server, free_port, launch_browser

REPEATS = 9
EMPTY, COLD, WARM = "empty page", "empty cache", "cache filled"
WAIT = 60_000  # milliseconds
EMPTY_PAGE = 'import streamlit as st\n\nst.title("Empty")\n'
FLAGS = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
}


@dataclass(frozen=True)
class Target:
    """A page and what must be visible for it to count as there.

    Attributes:
        url: Its address.
        selector: Of the element that is waited for.
    """

    url: str
    selector: str


def measure_waits(workspace: Path) -> dict[str, list[float]]:
    """Return how long each opening took, in milliseconds, by page and state of the cache.

    The pages take turns, so that other work on the machine hits them alike.

    Args:
        workspace: A folder whose database has one scored project of 100,000 examples or more.
    """
    server = Server(workspace)
    with sync_playwright() as playwright, serve_empty_page() as empty_url:
        browser = launch_browser(playwright)
        try:
            server.start()
            targets = {
                "queue": Target(f"{server.url}/queue", "button[data-id]"),
                "queue, page 2,000": Target(f"{server.url}/queue?page=2000", "button[data-id]"),
                EMPTY: Target(empty_url, "h1"),
            }
            return _take_turns(browser, targets)
        finally:
            browser.close()
            server.stop()


def _take_turns(browser: Browser, targets: Mapping[str, Target]) -> dict[str, list[float]]:
    waits: dict[str, list[float]] = defaultdict(list)
    known = {name: browser.new_context() for name in targets}
    for name, target in targets.items():
        wait_for(known[name], target)  # fills the cache; the server's first run reads its program
    for _ in range(REPEATS):
        for name, target in targets.items():
            waits[f"{name}, {COLD}"].append(open_once(browser, target))
            waits[f"{name}, {WARM}"].append(wait_for(known[name], target))
    return waits


def open_once(browser: Browser, target: Target) -> float:
    """Return the milliseconds until the page is there, in a browser that has never seen it."""
    context = browser.new_context()
    try:
        return wait_for(context, target)
    finally:
        context.close()


def wait_for(context: BrowserContext, target: Target) -> float:
    """Open the page in a new tab and return the milliseconds until it is there."""
    page = context.new_page()
    started = time.perf_counter()
    page.goto(target.url, wait_until="commit")
    page.locator(target.selector).first.wait_for(timeout=WAIT)
    elapsed = 1000 * (time.perf_counter() - started)
    page.close()
    return elapsed


@contextmanager
def serve_empty_page() -> Iterator[str]:
    """Serve a Streamlit page with nothing but a title, and give its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY_PAGE, encoding="utf-8")
        flags = [f"--{name}={value}" for name, value in FLAGS.items()]
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                str(script),
                f"--server.port={port}",
                *flags,
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):  # noqa: S310
                return
        except (URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


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
