"""Take the screenshots of the documentation: ``python -m scripts.screenshots``.

Builds the demos in a temporary workspace (or copies those in TRACIN_WORKSPACE), makes a few
decisions by keys as a reviewer would, and photographs each page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from relabel.workspace import REPOSITORY_ROOT
from scripts.serving import Server, launch_browser, wait_until_idle

FOLDER = REPOSITORY_ROOT / "docs" / "screenshots"
SIZE = {"width": 1360, "height": 900}
# Pages of which more than a screen is shown, in pixels, and whose few colours all have a meaning.
TALL = {"compare": 1640, "value": 1900}
COLOURFUL = ("compare",)  # among fewer colours lines of several methods become one
SHOTS = [
    ("digits", "overview", "light"),
    ("digits", "queue", "light"),
    ("digits", "inspect", "light"),
    ("digits", "review", "light"),
    ("digits", "compare", "light"),
    ("digits", "value", "light"),
    ("digits", "history", "light"),
    ("digits", "projects", "light"),
    ("digits", "runs", "light"),
    ("docs", "overview", "light"),
    ("docs", "queue", "light"),
    ("docs", "inspect", "light"),
    ("docs", "review", "light"),
    ("docs", "value", "light"),
    ("docs", "history", "light"),
    ("docs", "team", "light"),
    ("digits", "review", "dark"),
    ("docs", "queue", "dark"),
]
_DECISIONS = {"digits": "mmkmxamm", "docs": "mmkmmxam"}


def main() -> int:
    """Take all screenshots.

    Returns:
        The exit status.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder) / "workspace", reviewer="Ada")
        build = [sys.executable, "-m", "relabel", "--workspace", str(server.workspace)]
        environment = {k: v for k, v in os.environ.items() if k != "TRACIN_DATABASE_URL"}
        for command in (["demo", "all"], ["compare", "digits"]):
            subprocess.run([*build, *command], check=True, env=environment)  # noqa: S603
        with launch_browser(playwright) as browser, server:
            for project, keys in _DECISIONS.items():
                decide(browser, server, project, keys)
            for project, page_name, theme in SHOTS:
                photograph(browser, server, project, page_name, theme)
    return 0


def decide(browser: Browser, server: Server, project: str, keys: str) -> None:
    """Review some suspects, so that the history has something to show."""
    page = browser.new_page(viewport=SIZE)
    page.goto(f"{server.url}/review?project={project}")
    wait_until_idle(page)
    for key in keys:
        page.wait_for_timeout(800)
        page.keyboard.press(key)
        wait_until_idle(page)  # a press for a suspect that is gone counts for nothing
    page.wait_for_timeout(800)
    page.close()


def photograph(browser: Browser, server: Server, project: str, name: str, theme: str) -> None:
    """Save one page as a PNG with few colours, so that it stays small."""
    size = SIZE | ({"height": TALL[name]} if name in TALL else {})
    context = browser.new_context(viewport=size, color_scheme=theme)  # type: ignore[arg-type]
    page: Page = context.new_page()
    page.goto(f"{server.url}/{name}?project={project}")
    wait_until_idle(page)
    page.wait_for_timeout(1500)
    suffix = "" if theme == "light" else f"-{theme}"
    path = FOLDER / f"{project}-{name}{suffix}.png"
    page.screenshot(path=path)
    with Image.open(path) as taken:
        plain = taken.convert("RGB")
        few = plain if name in COLOURFUL else plain.quantize(128, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
    print(f"{path.relative_to(REPOSITORY_ROOT)}: {path.stat().st_size / 1000:.0f} KB")
    context.close()


if __name__ == "__main__":
    raise SystemExit(main())
