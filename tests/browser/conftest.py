"""A real server and a real browser."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from scripts.serving import Server, launch_browser, wait_until_idle
from tests.browser.forked_servers import CAN_FORK, ServerFork
from tests.conftest import copy_workspace

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
def serve() -> Iterator[Callable[..., Server]]:
    """Make a server, to be used in a ``with``: cold, but with its libraries imported already.

    `tests.ui.test_guard` starts one as a person does.
    """
    if not CAN_FORK:
        yield Server
        return
    with ServerFork() as fork:
        yield partial(Server, launch=fork.start)


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
    made = browser.new_context(viewport={"width": 1440, "height": 1000})
    made.set_default_timeout(TIMEOUT)
    expect.set_options(timeout=TIMEOUT)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def context(shared_context: BrowserContext) -> Iterator[BrowserContext]:
    """The same, without tabs and cookies of another test."""
    try:
        yield shared_context
    finally:
        for page in shared_context.pages:
            page.close()
        shared_context.clear_cookies()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


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
