"""Programs in processes of their own that need not import torch, pandas and this project first.

What a test does to a process from outside (kill it, limit its files, set two against each other)
takes moments; to import what the process works with takes an interpreter seconds. Here one process
imports it, once in a run of tests, and each program is a fork of it, with an end of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import IO

from relabel.workspace import REPOSITORY_ROOT

_LIBRARIES = (
    *("pandas", "pyarrow.parquet", "sklearn.datasets", "torch", "alembic.command"),
    *("relabel.cli", "relabel.cli.imports", "relabel.cli.system", "relabel.cli.work"),
    *("relabel.db.engine", "relabel.demos.build", "relabel.scoring.project"),
)
_MOST_BYTES = 2**20  # of what is asked for: words, a program's text, an environment


class PreloadedProcess:
    """What the tests ask of ``subprocess.Popen``, for a process that is no child of ours."""

    def __init__(
        self, pid: int, status: IO[bytes], stdin: IO[str], stdout: IO[str], stderr: IO[str]
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._waiting = threading.Thread(target=self._read_status, args=(status,), daemon=True)
        self._waiting.start()

    def _read_status(self, status: IO[bytes]) -> None:
        with status:
            code = os.waitstatus_to_exitcode(int(status.read()))
        self.returncode = code

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, or minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: If it goes on for so many seconds.
        """
        self._waiting.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a preloaded program", timeout or 0)
        return self.returncode

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self._waiting.join()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Close its input, read all that it prints, and wait for its end."""
        told: list[str] = []
        errors = threading.Thread(target=lambda: told.append(self.stderr.read()), daemon=True)
        errors.start()
        if not self.stdin.closed:
            self.stdin.close()
        printed = self.stdout.read()
        errors.join()
        self.wait(timeout)
        self.stdout.close()
        self.stderr.close()
        return printed, told[0]


class Preloaded:
    """The process that programs are forked from; runs inside a ``with`` and no longer."""

    def __enter__(self) -> Preloaded:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=REPOSITORY_ROOT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()  # the end of its work
        self._process.wait()

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> PreloadedProcess:
        """Start what ``python WORDS`` does in this repository; the words begin ``-m`` or ``-c``."""
        pipes = [os.pipe() for _ in range(4)]  # input, output, errors, exit status
        theirs = [pipes[0][0], *(writing for _, writing in pipes[1:])]
        wanted = {"words": words, "environment": dict(environment or os.environ)}
        socket.send_fds(self._socket, [json.dumps(wanted).encode()], theirs)
        for file in theirs:
            os.close(file)
        answer = self._socket.recv(64)
        if not answer:
            raise RuntimeError("The process that programs are forked from has ended; see above.")
        return PreloadedProcess(
            int(answer),
            os.fdopen(pipes[3][0], "rb"),
            os.fdopen(pipes[0][1], "w"),
            os.fdopen(pipes[1][0]),
            os.fdopen(pipes[2][0]),
        )

    def run(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Start it and wait for its end."""
        process = self.start(*words, environment=environment)
        printed, errors = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(words, process.returncode, printed, errors)


def main() -> None:
    """Import the libraries, and become a program for each question that comes in."""
    questions = socket.socket(fileno=int(sys.argv[1]))
    for name in _LIBRARIES:
        importlib.import_module(name)
    while True:
        text, files, _, _ = socket.recv_fds(questions, _MOST_BYTES, 4)
        if not text:
            return
        watcher = os.fork()
        if not watcher:
            os._exit(_watch(questions, json.loads(text), *files))
        for file in files:
            os.close(file)
        os.waitpid(watcher, 0)  # it goes on in a process of its own


def _watch(questions: socket.socket, wanted: Mapping[str, object], *files: int) -> int:
    """Fork the program, tell its number, and tell its end: only a parent learns of that."""
    *streams, status = files
    if os.fork():
        return 0
    pid = os.fork()
    if not pid:
        os.close(status)
        questions.close()
        os._exit(_be_python(streams=streams, **wanted))
    for file in streams:
        os.close(file)
    questions.send(str(pid).encode())
    questions.close()
    _, ended = os.waitpid(pid, 0)
    os.write(status, str(ended).encode())
    return 0


def _be_python(words: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]) -> int:
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(streams):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        how, what, *rest = words
        if how == "-m":
            sys.argv = [what, *rest]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [how, *rest]
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as -c does
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
