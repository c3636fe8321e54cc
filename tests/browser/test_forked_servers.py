"""Servers that are forked start cold, tell why they cannot, and end when they are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scripts.serving import Server
from tests.browser.forked_servers import CAN_FORK, ServerFork

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CAN_FORK, reason="processes cannot be watched here"),
]


@pytest.fixture(scope="module")
def fork() -> Iterator[ServerFork]:
    with ServerFork() as running:
        yield running


def test_a_server_serves_its_own_workspace_and_goes(fork: ServerFork, tmp_path: Path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with Server(tmp_path / name, launch=fork.start) as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5):
                pass
            assert (tmp_path / name / "tracin.db").exists()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_one_that_cannot_start_says_why(fork: ServerFork, tmp_path: Path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = Server(tmp_path, other.getsockname()[1], launch=fork.start)
        with pytest.raises(RuntimeError, match="Another program"):
            server.start()


def test_a_killed_server_is_gone_at_once_and_its_fork_goes_on(fork: ServerFork, tmp_path: Path):
    start = partial(Server, tmp_path, launch=fork.start)
    with start() as server:
        server.kill()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        server.start()
