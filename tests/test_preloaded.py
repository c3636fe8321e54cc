"""A program that is forked reads, works, serves, fails and ends as one that is started by hand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from relabel.db.engine import open_database
from relabel.db.jobs import ACTIVE, get_job, process_is_alive
from relabel.importers.options import ImportOptions
from relabel.jobs.launch import start_job
from relabel.logs import read_log
from relabel.sandbox import PROGRAM, run_apart
from relabel.workspace import Workspace
from scripts.serving import Server
from tests.preloaded import Preloaded, preload, usual_programs
from tests.relabel.jobs import quick_work
from tracin_core.errors import TracInError

COLUMNS = "relabel.importers.preview:list_columns_in_process"
WAIT = "import sys, time; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def reader(preloaded: Preloaded) -> tuple[str, ...]:
    return (*preloaded.python, *PROGRAM[1:])


def request(path: Path) -> dict[str, Any]:
    return {"path": str(path), "options": ImportOptions().to_json()}


def wait_for(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not told():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_a_table_is_read_as_by_the_program_itself(reader: tuple[str, ...], tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    table.write_text("review,liked\nwarm and witty,yes\ndull,no\n")
    asked = request(table)
    forked = run_apart(COLUMNS, asked, what="x", program=reader)
    assert forked == run_apart(COLUMNS, asked, what="x", program=PROGRAM)
    assert len(forked) == 2


def test_what_is_refused_has_its_class_and_words(reader: tuple[str, ...], tmp_path: Path) -> None:
    damaged = tmp_path / "films.parquet"
    damaged.write_bytes(b"no parquet at all")
    told = []
    for program in (reader, PROGRAM):
        with pytest.raises(TracInError) as refused:
            run_apart(COLUMNS, request(damaged), what="x", program=program)
        told.append((type(refused.value), str(refused.value)))
    assert told[0] == told[1]


def test_a_bug_comes_with_its_trace(reader: tuple[str, ...]) -> None:
    with pytest.raises(RuntimeError, match="no task of this program"):
        run_apart("os:getcwd", {}, what="x", program=reader)


def test_programs_are_the_usual_ones_once_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, program in usual_programs(["/bin/false"]):
        monkeypatch.setitem(options, "program", program)
    with pytest.raises(TracInError, match="ended the process that read it"):
        run_apart(COLUMNS, {}, what="x")


def test_a_job_is_done_in_a_process_of_its_own_with_a_log(
    preloaded: Preloaded, place: Workspace
) -> None:
    program = (*preloaded.python, *quick_work.PROGRAM[1:])
    quick_work.register()
    engine = open_database(place.database_url)
    job = start_job(engine, place, "mine", "count", {"steps": 3}, program=program)
    wait_for(lambda: get_job(engine, job.id).state not in ACTIVE)
    done = get_job(engine, job.id)
    engine.dispose()
    assert (done.state, done.result) == ("succeeded", {"counted": 3, "began_at": 0})
    assert done.pid != os.getpid()
    assert "has succeeded" in read_log(place, done)[-1]


@pytest.mark.parametrize("by_words", [True, False], ids=["words", "asked"])
def test_a_program_has_its_own_words_folder_streams_and_end(
    preloaded: Preloaded, tmp_path: Path, by_words: bool
) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'a module beside it'")
    program = tmp_path / "program.py"
    program.write_text(
        "import beside, os, sys\n"
        "print(beside.NAME, sys.argv, os.getcwd(), os.environ['OWN'], input())\n"
        "print('oh', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    environment = os.environ | {"OWN": "setting"}
    words = ("program.py", "a b", "-x")
    if by_words:
        ended = subprocess.run(
            [*preloaded.python, *words],
            cwd=tmp_path,
            env=environment,
            input="in\n",
            capture_output=True,
            text=True,
            check=False,
        )
        code, printed, errors = ended.returncode, ended.stdout, ended.stderr
    else:
        process = preloaded.start(*words, environment=environment, folder=tmp_path)
        process.stdin.write("in\n")
        printed, errors = process.communicate()
        code = process.wait()
    told = f"a module beside it ['program.py', 'a b', '-x'] {tmp_path} setting in\n"
    assert (code, printed, errors) == (3, told, "oh\n")


def test_a_program_that_goes_on_is_killed_when_its_time_is_over(preloaded: Preloaded) -> None:
    process = preloaded.start("-c", WAIT, most_seconds=0.1)
    assert process.wait(30) == -signal.SIGKILL
    process.communicate()


def test_a_fork_ends_with_what_stands_for_it_and_that_with_the_fork(preloaded: Preloaded) -> None:
    code = "import os; print(os.getpid(), flush=True); import time; time.sleep(60)"
    for ended in ("client", "fork"):
        with subprocess.Popen([*preloaded.python, "-c", code], stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            pid = int(client.stdout.readline())
            if ended == "client":
                client.kill()
            else:
                os.kill(pid, signal.SIGTERM)
        assert client.returncode == -(signal.SIGKILL if ended == "client" else signal.SIGTERM)
        wait_for(lambda: not process_is_alive(pid))  # noqa: B023 - it is called at once


def test_who_waits_for_a_program_hears_in_time(preloaded: Preloaded) -> None:
    process = preloaded.start("-c", WAIT)
    assert process.stdout.readline() == "ready\n"
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    process.kill()  # which does nothing to one that has ended
    process.communicate()


def test_libraries_that_cannot_be_imported_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    with preload(["no_such_library"]) as broken, pytest.raises(RuntimeError, match="see above"):
        broken.run("-c", "")
    assert "no_such_library" in capfd.readouterr().err


def test_a_server_serves_its_own_workspace_and_goes(preloaded: Preloaded, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with Server(tmp_path / name, launch=preloaded.launch) as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5):
                pass
            assert (tmp_path / name / "tracin.db").exists()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_server_that_cannot_start_says_why(preloaded: Preloaded, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = Server(tmp_path, other.getsockname()[1], launch=preloaded.launch)
        with pytest.raises(RuntimeError, match="Another program"):
            server.start()


def test_a_killed_server_is_gone_at_once_and_others_can_start(
    preloaded: Preloaded, tmp_path: Path
) -> None:
    start = partial(Server, tmp_path, launch=preloaded.launch)
    with start() as server:
        server.kill()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        server.start()
