"""Reading processes that begin with the libraries already imported.

The process that reads a person's data is busy for most of a second with imports, and with the small
files of these tests for a few thousandths. Here one process imports them, once, and each reading is
a fork of it. ``run_apart`` starts and watches a real process as ever, which has its pipes, its
environment and its end: a Python without any library that hands all of them to the fork.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from relabel import sandbox
from relabel.workspace import REPOSITORY_ROOT

# What readings import; all of it is there already where it is not the first one.
_LIBRARIES = ("pandas", "pyarrow.parquet", "pyarrow.csv", "PIL.Image", "charset_normalizer")
_READERS = ("relabel.importers.preview", "relabel.projects.restore")

# In the place of ``python -P -m relabel.sandbox``. It ends as the fork does, by its signal, too.
_CLIENT = """
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    told = json.dumps({"environment": dict(os.environ), "folder": os.getcwd()}).encode()
    socket.send_fds(server, [len(told).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(told)
    os.close(0); os.close(1)
    code = int(server.makefile().readline())
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@contextmanager
def forked_readings() -> Iterator[tuple[str, ...]]:
    """Import the libraries, and be there for readings as long as the block runs.

    Yields:
        The program for ``run_apart``, which ``read_with`` makes the usual one.
    """
    with tempfile.TemporaryDirectory(prefix="read") as folder:  # a socket's path must be short
        path = str(Path(folder) / "s")
        command = [sys.executable, "-P", "-m", __name__, path]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)}
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield (sys.executable, "-I", "-S", "-c", _CLIENT, path)
            process.stdin.close()


def read_with(program: Sequence[str]) -> None:
    """Let ``run_apart`` read with a program, in this process and from now on."""
    usual_options()["program"] = tuple(program)


def usual_options() -> dict[str, Any]:
    """Return what ``run_apart`` takes where nothing else is said, to be changed in place."""
    options: dict[str, Any] = sandbox.run_apart.__kwdefaults__
    return options


def main() -> None:
    """Import the libraries, and fork for everybody who connects."""
    for name in (*_LIBRARIES, *_READERS):
        import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen()
        print("ready", flush=True)
        # The end of its input is the end of its work, however that of its parent came.
        while server in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            with connection:
                if not os.fork():
                    try:
                        _answer(connection)
                    finally:
                        os._exit(0)
            _end_children()


def _end_children() -> None:
    """Forget the forks that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _answer(connection: socket.socket) -> None:
    """Read in another fork, and tell how it ended."""
    length, files, _, _ = socket.recv_fds(connection, 8, 3)
    told = json.loads(connection.makefile("rb").read(int.from_bytes(length, "big")))
    pid = os.fork()
    if not pid:
        connection.close()
        for target, file in enumerate(files):
            os.dup2(file, target)
            os.close(file)
        os.chdir(told["folder"])
        os.environ.clear()
        os.environ.update(told["environment"])
        code = 1
        try:
            sandbox.main()
            code = 0
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            sys.stdout.flush()
            os._exit(code)
    for file in files:
        os.close(file)
    _, status = os.waitpid(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
