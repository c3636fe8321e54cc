"""A real server and a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.conftest import copy_workspace
from tracin_core.config import REPOSITORY_ROOT

START_TIMEOUT = 60  # seconds; a cold server on a busy machine
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass
class Server:
    """The app in a process of its own.

    Attributes:
        workspace: Its workspace folder.
        port: Where it listens, on the loopback address.
    """

    workspace: Path
    port: int = 0
    log: list[str] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.port = self.port or free_port()
        environment = os.environ | {"TRACIN_REVIEWER": "tester"}
        environment.pop("TRACIN_DATABASE_URL", None)
        self._process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(self.port), "--workspace", str(self.workspace)],
            cwd=REPOSITORY_ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=(self.workspace / "server.log").open("ab"),
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError((self.workspace / "server.log").read_text(errors="replace"))

    def kill(self) -> None:
        """End the server with SIGKILL: it has no chance to tidy up."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(built_demos: Path, tmp_path: Path) -> Iterator[Server]:
    started = Server(copy_workspace(built_demos, tmp_path / "workspace"))
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


def launch_browser(playwright: Playwright) -> Browser:
    """Start the system's Chromium, else Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    return playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)


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


def wait_until_idle(page: Page) -> None:
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
