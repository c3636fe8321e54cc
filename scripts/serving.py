"""The app in a process of its own and a browser to look at it; for the tests and screenshots."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, Self
from urllib.error import URLError

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

from relabel.workspace import REPOSITORY_ROOT

# How often, and how far apart, the page must be seen idle.
QUIET_LOOKS, LOOK_MILLISECONDS = 3, 60
START_TIMEOUT = 240  # seconds; a cold server on a busy machine took 66
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class ServerProcess(Protocol):
    """What is asked of a server's process, as of ``subprocess.Popen``."""

    pid: int

    def poll(self) -> int | None:
        """Return ``None`` while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""

    def send_signal(self, number: signal.Signals, /) -> None:
        """Send it a signal."""

    def terminate(self) -> None:
        """Ask it to end."""


def _launch(words: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> ServerProcess:
    return subprocess.Popen(  # noqa: S603 - our own program
        words, cwd=REPOSITORY_ROOT, env=environment, stdout=log, stderr=log
    )


@dataclass
class Server:
    """The app in a process of its own, which runs inside a ``with`` and no longer.

    Attributes:
        workspace: Its workspace folder.
        port: Where it listens, on the loopback address.
        reviewer: Name that decisions are recorded under.
        launch: Starts a process, given its words, its environment and its log.
    """

    workspace: Path
    port: int = 0
    reviewer: str = "tester"
    launch: Callable[[Sequence[str], Mapping[str, str], IO[bytes]], ServerProcess] = _launch
    _process: ServerProcess | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address of the app."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The number of its process, while it runs."""
        if self._process is None:
            raise RuntimeError("The server does not run. Start it first.")
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the app and wait until it answers.

        Raises:
            RuntimeError: With its log, if it does not.
        """
        self.port = self.port or free_port()
        environment = os.environ | {"TRACIN_REVIEWER": self.reviewer}
        environment.pop("TRACIN_DATABASE_URL", None)
        command = [sys.executable, "app.py", "--port", str(self.port)]
        with (self.workspace / "server.log").open("ab") as log:
            words = [*command, "--workspace", str(self.workspace)]
            self._process = self.launch(words, environment, log)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):  # noqa: S310
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError((self.workspace / "server.log").read_text(errors="replace"))

    def kill(self) -> None:
        """End the server with SIGKILL: it has no chance to tidy up."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the server as Ctrl-C does, or harder if it does not listen."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch_browser(playwright: Playwright) -> Browser:
    """Start the system's Chromium, else Playwright's own.

    Its headless shell is the same engine without the rest of a browser, and takes a fifth less
    processor time for a page.
    """
    return playwright.chromium.launch(executable_path=_find_chromium(), args=_ARGUMENTS)


def launch_profile(playwright: Playwright, folder: Path) -> BrowserContext:
    """Start Chromium with a profile that is kept in a folder, as a person's browser has it."""
    return playwright.chromium.launch_persistent_context(
        folder, executable_path=_find_chromium(), args=_ARGUMENTS
    )


def _find_chromium() -> str | None:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def wait_until_idle(page: Page) -> None:
    """Wait until the server has drawn all it has to draw, and for a moment begins nothing new.

    A press or click takes some milliseconds to reach the server; until then the page seems idle.
    """
    quiet = 0
    while quiet < QUIET_LOOKS:
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        page.wait_for_timeout(LOOK_MILLISECONDS)
        is_quiet = page.locator("[data-testid=stApp][data-test-script-state=notRunning]").count()
        quiet = quiet + 1 if is_quiet else 0
