"""Streamlit with nothing but a title, served beside the app for comparison."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from scripts.serving import START_TIMEOUT, free_port

ONE_PAGE = 'import streamlit as st\n\nst.title("Empty")\n'
TWO_PAGES = """import streamlit as st

empty = st.Page(lambda: st.title("Empty"), title="Empty", url_path="empty", default=True)
other = st.Page(lambda: st.title("Other"), title="Other", url_path="other")
st.navigation([empty, other]).run()
"""
FLAGS = {
    "server.address": "127.0.0.1",
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
}


@contextmanager
def serve_empty_page() -> Iterator[str]:
    """Serve one page, and give its address."""
    with _serve(ONE_PAGE) as url:
        yield url


@contextmanager
def serve_two_empty_pages() -> Iterator[str]:
    """Serve two pages with links at the left, and give the first one's address."""
    with _serve(TWO_PAGES) as url:
        yield url


@contextmanager
def _serve(program: str) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text(program, encoding="utf-8")
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
