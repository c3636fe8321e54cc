"""A real server and a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from scripts.serving import Server, launch_browser, wait_until_idle
from tests.conftest import copy_workspace


@pytest.fixture
def built_projects(built_demos: Path) -> Path:
    """The workspace whose copy is served; a module with other data names another one."""
    return built_demos


@pytest.fixture
def server(built_projects: Path, tmp_path: Path) -> Iterator[Server]:
    started = Server(copy_workspace(built_projects, tmp_path / "workspace"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    launched = launch_browser(playwright)
    try:
        yield launched
    finally:
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1440, "height": 1000})
    made.set_default_timeout(20_000)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def open_page(server: Server) -> Callable[..., None]:
    """Go to an address of the app and wait until it is drawn."""

    def go(page: Page, path: str) -> None:
        page.goto(server.url + path)
        wait_until_idle(page)

    return go
