"""A real server and a real browser."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    ViewportSize,
    expect,
    sync_playwright,
)

from scripts.serving import Server, launch_browser, wait_until_idle
from tests.conftest import copy_workspace
from tests.preloaded import Preloaded

VIEWPORT: ViewportSize = {"width": 1440, "height": 1000}
TIMEOUT = 90_000  # milliseconds; with thirty processes on two cores, 20 seconds are too few


@pytest.fixture
def built_projects(built_demos: Path) -> Path:
    """The workspace whose copy is served; a module with other data names another one."""
    return built_demos


@pytest.fixture(scope="package")
def port() -> Iterator[int]:
    """Where servers listen one after the other: what the browser has of one it has of the next.

    A socket that is bound and never listens keeps the port from everybody who asks for a free one,
    and from no server that names it.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture(scope="package")
def serve(preloaded: Preloaded) -> Callable[..., Server]:
    """Make a server, to be used in a ``with``: cold, but with its libraries imported already.

    `tests.ui.test_guard` starts one as a person does.
    """
    return partial(Server, launch=preloaded.launch)


@pytest.fixture
def server(
    built_projects: Path, tmp_path: Path, port: int, serve: Callable[..., Server]
) -> Iterator[Server]:
    with serve(copy_workspace(built_projects, tmp_path / "workspace"), port) as running:
        yield running


@pytest.fixture(scope="package")
def standing_server(
    built_demos: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[Server]:
    """One server for all tests that only look: a start costs as much as most of them."""
    workspace = copy_workspace(built_demos, tmp_path_factory.mktemp("looks") / "workspace")
    with serve(workspace) as running:
        yield running


# While Playwright runs, its event loop counts as running in this thread: no longer than here.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    launched = launch_browser(playwright)
    try:
        yield launched
    finally:
        launched.close()


# To fetch and compile the scripts of the app takes three seconds of a processor.
@pytest.fixture(scope="package")
def shared_context(browser: Browser) -> Iterator[BrowserContext]:
    """One context for all, so that a page is loaded as it is by somebody who has been there."""
    made = browser.new_context(viewport=VIEWPORT)
    made.set_default_timeout(TIMEOUT)
    expect.set_options(timeout=TIMEOUT)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="package")
def tabs(shared_context: BrowserContext) -> Iterator[list[Page]]:
    """The one tab that tests share, which is made when the first one asks and after an accident."""
    open_tabs: list[Page] = []
    yield open_tabs
    for tab in open_tabs:
        tab.close()


@pytest.fixture
def context(shared_context: BrowserContext, tabs: list[Page]) -> Iterator[BrowserContext]:
    """The same, without other tabs and cookies of another test."""
    try:
        yield shared_context
    finally:
        for page in shared_context.pages:
            if page not in tabs:
                page.close()
        shared_context.clear_cookies()


@pytest.fixture
def new_page(context: BrowserContext) -> Page:
    """A tab that has been nowhere, for those who count steps."""
    return context.new_page()


@pytest.fixture
def page(context: BrowserContext, tabs: list[Page]) -> Iterator[Page]:
    """A tab, empty and as it was made, but for the steps that lie behind it.

    A new one has a process of its own, which compiles the scripts of the app again: to load a page
    takes more than twice the processor time there. Who listens to the tab does so with
    ``listening``.
    """
    if not tabs or tabs[0].is_closed():
        tabs[:] = [context.new_page()]
    (tab,) = tabs
    try:
        yield tab
    finally:
        if not tab.is_closed():
            _make_empty(tab)


def _make_empty(tab: Page) -> None:
    tab.unroute_all()
    if tab.url.startswith("http"):
        # What a test left unsent would go to the next one's server.
        tab.evaluate(
            "sessionStorage.clear(); localStorage.removeItem('tracin-queue-size');"
            "window.tracinOutbox = window.tracinBatches = undefined"
        )
    tab.goto("about:blank")
    tab.set_viewport_size(VIEWPORT)
    tab.emulate_media(color_scheme="null")
    tab.mouse.move(0, 0)


@contextmanager
def listening(page: Page, **listeners: Callable[..., None]) -> Iterator[None]:
    """Let functions hear of what a page does, by the names of its events, inside the block."""
    for event, listener in listeners.items():
        page.on(event, listener)  # type: ignore[call-overload]
    try:
        yield
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)


@pytest.fixture
def open_page(server: Server) -> Callable[..., None]:
    """Go to an address of the app and wait until it is drawn."""
    return partial(go, server)


@pytest.fixture
def look_at(standing_server: Server) -> Callable[..., None]:
    """Open pages at the server that tests share which leave everything as it is."""
    return partial(go, standing_server)


def go(server: Server, page: Page, path: str) -> None:
    page.goto(server.url + path)
    wait_until_idle(page)
