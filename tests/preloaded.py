"""Programs in processes of their own that need not import the large libraries first.

An interpreter is busy for seconds with importing torch, Streamlit and pandas, mostly longer than
with what a test asks of it. Here one process imports them, once in a run of tests, and each program
is a fork of it: with memory, streams, folder, environment and end of its own, nothing cached, no
database open, no page drawn. Programs that it forks start their own ones, jobs and readings of a
person's data, in the same way.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from relabel import sandbox
from relabel.jobs import launch
from relabel.workspace import REPOSITORY_ROOT

# What the app, its pages, its commands, its jobs and its readings import.
LIBRARIES = (
    *("torch", "pandas", "pyarrow.parquet", "pyarrow.csv", "PIL.Image", "charset_normalizer"),
    *("sklearn.datasets", "plotly.graph_objects", "alembic.command", "app"),
    *("relabel.cli.imports", "relabel.cli.system", "relabel.cli.work", "relabel.cli.jobs"),
    *("relabel.demos.build", "relabel.scoring.project", "relabel.importers.preview"),
    *("relabel.projects.backup", "relabel.projects.restore"),
    # What a training imports when it begins: the first optimizer asks for torch's compiler, whose
    # import takes as long as torch's own.
    *("torch._dynamo", "sklearn.linear_model", "relabel.crossval.run", "relabel.fitting.training"),
    "relabel.scoring.run",
)
MOST_SECONDS = 600  # that a program may take, after which it is killed

# In the place of an interpreter. It ends as the fork does, by its signal, too; the fork with it.
_CLIENT = """
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    wanted = {"words": sys.argv[2:], "environment": dict(os.environ), "folder": os.getcwd()}
    text = json.dumps(wanted).encode()
    socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(text)
    os.close(0); os.close(1)
    number, code = map(int, server.makefile().read().split())
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class PreloadedProcess:
    """What the tests ask of ``subprocess.Popen``, for a process that is no child of ours."""

    def __init__(self, connection: socket.socket, pipes: Sequence[IO[str]] = ()) -> None:
        self._connection = connection
        self._told = connection.makefile()
        self.pid = int(self._told.readline())
        self.returncode: int | None = None
        if pipes:
            self.stdin, self.stdout, self.stderr = pipes

    def poll(self) -> int | None:
        """Return ``None`` while it runs, and its exit status afterwards."""
        self._look(0)
        return self.returncode

    def _look(self, timeout: float | None) -> None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._told.readline() or 1)
            self._told.close()
            self._connection.close()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, or minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: If it goes on for so many seconds.
        """
        self._look(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a preloaded program", timeout or 0)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

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
    """The process that programs are forked from, wherever it was started.

    Args:
        address: The path of its socket.

    Attributes:
        python: Words in the place of ``sys.executable``, for who starts a program by its words.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.python = (sys.executable, "-I", "-S", "-c", _CLIENT, address)

    def start(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        folder: Path = REPOSITORY_ROOT,
        most_seconds: float = MOST_SECONDS,
    ) -> PreloadedProcess:
        """Start what ``python WORDS`` does in a folder, with pipes to all its streams.

        Args:
            words: A file, ``-m MODULE`` or ``-c PROGRAM``, and arguments.
            environment: All of it; this process's by default.
            folder: Where it works.
            most_seconds: After which it is killed.
        """
        (read, stdin), (stdout, printed), (stderr, errors) = (os.pipe() for _ in range(3))
        ours = ((stdin, "w"), (stdout, "r"), (stderr, "r"))
        pipes = [os.fdopen(file, how, encoding="utf-8", errors="replace") for file, how in ours]
        with contextlib.ExitStack() as failing:
            for pipe in pipes:
                failing.enter_context(pipe)
            try:
                connection = self._ask(
                    [read, printed, errors],
                    words=words,
                    environment=dict(os.environ if environment is None else environment),
                    folder=str(folder),
                    most_seconds=most_seconds,
                )
            finally:
                for file in (read, printed, errors):
                    os.close(file)
            failing.pop_all()
        return PreloadedProcess(connection, pipes)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Start it, with the options of ``start``, and wait for its end."""
        process = self.start(*words, **options)
        printed, errors = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(words, process.returncode, printed, errors)

    def launch(
        self, words: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> PreloadedProcess:
        """Start a server that writes into a log; it lives no longer than who has started it."""
        with Path(os.devnull).open() as nothing:
            connection = self._ask(
                [nothing.fileno(), log.fileno(), log.fileno()],
                words=words[1:],
                environment=dict(environment),
                folder=str(REPOSITORY_ROOT),
                most_seconds=None,
            )
        return PreloadedProcess(connection)

    def _ask(self, files: Sequence[int], **wanted: Any) -> socket.socket:
        text = json.dumps(wanted).encode()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.address)
            socket.send_fds(connection, [len(text).to_bytes(8, "big")], files)
            connection.sendall(text)
            is_there = connection.recv(1, socket.MSG_PEEK)
        except OSError:
            is_there = b""
        if not is_there:
            connection.close()
            raise RuntimeError("The process that programs are forked from has ended; see above.")
        return connection


@contextlib.contextmanager
def preload(libraries: Sequence[str] = LIBRARIES) -> Iterator[Preloaded]:
    """Let a process import libraries, and be there for programs as long as the block runs.

    It begins with the environment of now. Who asks before it is ready waits.
    """
    with tempfile.TemporaryDirectory(prefix="fork") as folder:  # a socket's path must be short
        address = str(Path(folder) / "s")
        with socket.socket(socket.AF_UNIX) as questions:
            questions.bind(address)
            questions.listen(64)
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(questions.fileno()), *libraries],
                cwd=REPOSITORY_ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[questions.fileno()],
            )
        try:
            yield Preloaded(address)
        finally:
            process.communicate()  # the end of its input is the end of its work


def usual_programs(python: Sequence[str]) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """Return what this project starts in processes of their own, with another interpreter.

    Returns:
        For each function that starts something, the options that it takes where nothing else is
        said, to be changed in place, and their new ``program``.
    """
    own = (
        (sandbox.run_apart, sandbox.PROGRAM),
        (launch.start_job, launch.PROGRAM),
        (launch.retry_job, launch.PROGRAM),
    )
    return [(function.__kwdefaults__, (*python, *program[1:])) for function, program in own]


def main() -> None:
    """Import the libraries, and fork for everybody who connects."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: whoever started this ends it
    questions = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # what is imported stays
    for name in sys.argv[2:]:
        import_module(name)
    gc.enable()
    gc.freeze()  # or the forks would copy what they only look through
    for options, program in usual_programs(Preloaded(questions.getsockname()).python):
        options["program"] = program
    _ForkServer(questions).work()


class _ForkServer:
    """The programs that run, and who waits for each of them.

    Args:
        questions: Where new ones are asked for.
    """

    def __init__(self, questions: socket.socket) -> None:
        self._questions = questions
        self._running: dict[int, tuple[socket.socket, float]] = {}  # with the end of its time
        self._ends, told = socket.socketpair()  # a byte for each program that has ended
        told.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        self._told = told

    def work(self) -> None:
        """Start, watch and end programs until the standard input ends."""
        while True:
            listening = [connection for connection, _ in self._running.values()]
            soonest = min((end for _, end in self._running.values()), default=math.inf)
            wait = None if soonest == math.inf else max(0, soonest - time.monotonic())
            files = [self._questions, sys.stdin, self._ends, *listening]
            ready = select.select(files, [], [], wait)[0]
            if sys.stdin in ready:
                break
            if self._ends in ready:
                self._ends.recv(4096)
                self._tell_ends()
            now = time.monotonic()
            for pid, (connection, end) in list(self._running.items()):
                if connection in ready or end <= now:  # nobody waits any more, or its time is over
                    self._kill(pid)
            if self._questions in ready:
                self._begin(self._questions.accept()[0])
        for pid in list(self._running):
            self._kill(pid)

    def _begin(self, connection: socket.socket) -> None:
        try:
            length, files, _, _ = socket.recv_fds(connection, 8, 3)
            wanted = json.loads(connection.makefile("rb").read(int.from_bytes(length, "big")))
        except (OSError, ValueError):
            connection.close()  # who has asked is gone
            return
        most_seconds = wanted.pop("most_seconds", MOST_SECONDS)
        pid = os.fork()
        if not pid:
            self._close(connection)
            os._exit(_be_python(streams=files, **wanted))
        for file in files:
            os.close(file)
        end = math.inf if most_seconds is None else time.monotonic() + most_seconds
        self._running[pid] = connection, end
        with contextlib.suppress(OSError):
            connection.sendall(f"{pid}\n".encode())

    def _close(self, connection: socket.socket) -> None:
        """Leave behind what belongs to the process that forks."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        others = (connection for connection, _ in self._running.values())
        for one in (connection, self._questions, self._ends, self._told, *others):
            one.close()

    def _tell_ends(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._tell_end(pid, status)

    def _tell_end(self, pid: int, status: int) -> None:
        connection, _ = self._running.pop(pid)
        with contextlib.suppress(OSError), connection:  # nobody may listen any more
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    def _kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)  # it is there, at least as a zombie: nobody else asks for it
        self._tell_end(*os.waitpid(pid, 0))


def _be_python(
    words: list[str], environment: Mapping[str, str], folder: str, streams: Sequence[int]
) -> int:
    os.setsid()  # as no keyboard reaches it
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(streams):
        os.dup2(file, number)
        os.close(file)
    sys.stdout.reconfigure(write_through=bool(os.environ.get("PYTHONUNBUFFERED")))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _run(words, folder)
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


def _run(words: list[str], folder: str) -> None:
    how, *rest = words
    if how == "-P":  # no module is looked for where it works
        how, *rest = rest
    elif folder != sys.path[0]:
        sys.path.insert(0, folder)
    if how == "-m":
        sys.argv = rest
        if not hasattr(sys.modules.get(rest[0]), "__path__"):
            sys.modules.pop(rest[0], None)  # or runpy warns of a module that is there twice
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as -c does
    else:
        sys.argv = [how, *rest]
        runpy.run_path(how, run_name="__main__")


if __name__ == "__main__":
    main()
