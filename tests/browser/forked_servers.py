"""Servers that begin with the app's libraries already imported.

A server is busy for some seconds with importing Streamlit, pandas and pyarrow, mostly longer than
with what a test asks of it. Here one process imports them, once, and each server is a fork of it:
as cold as one started by hand (nothing cached, no page drawn, no database open) and with an end of
its own. Where processes cannot be watched from elsewhere (macOS), servers are started by hand.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from relabel import sandbox
from relabel.workspace import REPOSITORY_ROOT
from tests.forked_reading import read_with

CAN_FORK = hasattr(os, "pidfd_open")
# What the app and its pages import; torch stays out, as it does of a server.
_LIBRARIES = ("app", "alembic.command", "pandas", "plotly.graph_objects", "pyarrow.parquet")


class ForkedProcess:
    """A server's process: what of ``subprocess.Popen`` is asked for, for no child of ours."""

    def __init__(self, pid: int) -> None:
        """Watch a process, or see that it has ended at once: its log says why."""
        self.pid = pid
        try:
            self._watch: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._watch = None

    def poll(self) -> int | None:
        """Return ``None`` while it runs, and any number afterwards."""
        return 0 if self._has_ended(0) else None

    def _has_ended(self, timeout: float | None) -> bool:
        return self._watch is None or bool(select.select([self._watch], [], [], timeout)[0])

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: If it goes on.
        """
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("app.py", timeout or 0)
        if self._watch is not None:
            os.close(self._watch)
            self._watch = None
        return 0

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._watch is not None and self.poll() is None:
            signal.pidfd_send_signal(self._watch, number)

    def terminate(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        self.send_signal(signal.SIGTERM)


class ServerFork:
    """The process that servers are forked from; runs inside a ``with`` and no longer.

    Args:
        reader: The program with which the servers read a person's data; by default their own.
    """

    def __init__(self, reader: Sequence[str] = sandbox.PROGRAM) -> None:
        self._reader = list(reader)

    def __enter__(self) -> ServerFork:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=REPOSITORY_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is the end of its work

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> ForkedProcess:
        """Start ``python app.py ARGUMENTS``, whose words are given whole."""
        assert list(command[:2]) == [sys.executable, "app.py"], command
        wanted = {
            "arguments": command[2:],
            "environment": dict(environment),
            "log": log.name,
            "reader": self._reader,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The process that servers are forked from has ended; see above.")
        return ForkedProcess(int(answer))


def main() -> None:
    """Import the libraries, and become a server for each line that comes in."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is gone at once
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            os._exit(_serve(**json.loads(line)))
        print(pid, flush=True)


def _serve(arguments: list[str], environment: dict[str, str], log: str, reader: list[str]) -> int:
    read_with(reader)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(log, os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, target in enumerate((nothing, written, written)):
        os.dup2(target, stream)
    sys.argv = ["app.py", *arguments]
    from app import main as serve

    try:
        return serve(arguments)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
