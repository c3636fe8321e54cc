"""Jobs in processes of their own: they outlive who started them, and every end is told."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, update

from relabel.cli import main
from relabel.db.engine import open_database, writing
from relabel.db.jobs import (
    ACTIVE,
    STALE_AFTER,
    Job,
    claim_job,
    fail_dead_jobs,
    get_job,
    is_worker,
    list_jobs,
    process_is_alive,
    request_cancel,
)
from relabel.db.schema import JobRow, utc_now
from relabel.errors import JobError, NotFoundError
from relabel.jobs.execute import execute_job
from relabel.jobs.launch import queue_job, retry_job, start_job
from relabel.logs import read_log
from relabel.workspace import REPOSITORY_ROOT, Workspace
from tests.preloaded import Preloaded
from tests.relabel.jobs import quick_work
from tracin_core.errors import InputError

quick_work.register()


@pytest.fixture
def engine(place: Workspace) -> Iterator[Engine]:
    engine = open_database(place.database_url)
    yield engine
    for job in list_jobs(engine):
        if job.state == "running" and job.pid is not None:
            os.kill(job.pid, signal.SIGKILL)
    engine.dispose()


def start_by_hand(engine: Engine, place: Workspace, kind: str, **options: object) -> Job:
    """Start a job as the app does, where it matters what its process was started as."""
    return start_job(engine, place, "mine", kind, options, program=quick_work.PROGRAM)


@pytest.fixture
def program(preloaded: Preloaded) -> tuple[str, ...]:
    """The same program without its imports, which take longer than these jobs."""
    return (*preloaded.python, *quick_work.PROGRAM[1:])


@pytest.fixture
def start(program: tuple[str, ...]) -> Callable[..., Job]:
    def go(engine: Engine, place: Workspace, kind: str, **options: object) -> Job:
        return start_job(engine, place, "mine", kind, options, program=program)

    return go


def wait_for(told: Callable[[], object], seconds: float = 50) -> float:
    """Wait until something is true and return the seconds it took."""
    begun = time.monotonic()
    while not told():
        assert time.monotonic() < begun + seconds, "it did not come"
        time.sleep(0.02)
    return time.monotonic() - begun


def wait_for_end(engine: Engine, job: Job) -> Job:
    wait_for(lambda: get_job(engine, job.id).state not in ACTIVE)
    return get_job(engine, job.id)


def wait_for_count(place: Workspace, number: int) -> None:
    path = place.root / "mine.count"
    wait_for(lambda: path.exists() and int(path.read_text() or 0) >= number)


def test_a_job_is_done_in_a_process_of_its_own_with_a_log(engine, place, start):
    job = start(engine, place, "count", steps=10)
    assert (job.state, job.kind, job.project_slug) == ("queued", "count", "mine")
    done = wait_for_end(engine, job)
    assert (done.state, done.progress, done.error) == ("succeeded", 1.0, "")
    assert done.result == {"counted": 10, "began_at": 0}
    assert done.pid != os.getpid()
    assert done.log == f"logs/job-{job.id}.log"
    log = read_log(place, done)
    assert f"Job {job.id} (count mine) begins" in log[0]
    assert log[0].startswith(f"{done.started_at:%Y-%m-%dT%H:%M}")
    assert "has succeeded" in log[-1]


LAUNCH = """
import sys, time
from tests.relabel.jobs import quick_work
from relabel.workspace import resolve_workspace
from relabel.jobs.launch import start_job
from relabel.cli import main
from relabel.db.engine import open_database, writing
quick_work.register()
place = resolve_workspace(sys.argv[1])
engine = open_database(place.database_url)
options = {"steps": 60}
print(start_job(engine, place, "mine", "count", options, program=quick_work.PROGRAM).id, flush=True)
time.sleep(60)
"""


def test_a_job_outlives_the_killed_process_that_started_it(engine, place):
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(place.root)],
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        job = get_job(engine, int(launcher.stdout.readline()))
        wait_for_count(place, 1)
    finally:
        # Its whole group, as when a terminal or a container closes.
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
        launcher.stdout.close()
    assert get_job(engine, job.id).state == "running"
    assert fail_dead_jobs(engine) == []
    assert wait_for_end(engine, job).result == {"counted": 60, "began_at": 0}


def test_a_second_job_is_refused_with_who_works(engine, place, start, program):
    job = start(engine, place, "count", steps=1000)
    wait_for_count(place, 1)
    running = get_job(engine, job.id)
    with pytest.raises(
        JobError, match=rf"job {job.id} \(count\).*{running.pid} on .*since 20"
    ) as told:
        start(engine, place, "count", steps=3)
    assert f"--cancel {job.id}" in str(told.value)
    with pytest.raises(JobError, match="Expected one that has ended"):
        retry_job(engine, place, job.id, program=program)
    request_cancel(engine, job.id)
    wait_for_end(engine, job)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("count", {"steps": 5000}), ("fail", {"how": "silent"})],
    ids=["reports often", "reports never"],
)
def test_a_cancelled_job_ends_within_moments(engine, place, kind, options, start):
    job = start(engine, place, kind, **options)
    wait_for(lambda: get_job(engine, job.id).message)
    request_cancel(engine, job.id)
    # Of the minute and more that the work takes, on a busy machine.
    assert wait_for(lambda: get_job(engine, job.id).state == "cancelled") < 15
    # Not an error: it is what was asked for.
    assert get_job(engine, job.id).error == ""
    assert any("was cancelled" in line for line in read_log(place, job))


def test_a_retried_job_goes_on_from_what_is_kept(engine, place, start, program):
    job = start(engine, place, "count", steps=80)
    wait_for_count(place, 5)
    request_cancel(engine, job.id)
    wait_for_end(engine, job)
    again = retry_job(engine, place, job.id, program=program)
    assert (again.options, again.kind) == (job.options, job.kind)
    done = wait_for_end(engine, again)
    assert done.state == "succeeded"
    assert done.result["began_at"] >= 5


def test_a_killed_worker_is_found_at_once(engine, place, start):
    job = start(engine, place, "count", steps=5000)
    wait_for_count(place, 1)
    os.kill(get_job(engine, job.id).pid, signal.SIGKILL)

    def is_found() -> bool:
        fail_dead_jobs(engine)
        return get_job(engine, job.id).state == "failed"

    assert wait_for(is_found) < STALE_AFTER.total_seconds() / 10
    assert "Start it again: it goes on from what is saved" in get_job(engine, job.id).error
    assert wait_for_end(engine, start(engine, place, "count", steps=10)).state == "succeeded"


def test_a_failure_is_told_before_it_can_be_seen(engine, place):
    job = claim_job(engine, queue_job(engine, place, "mine", "fail", {"how": "input"}).id)
    told = []

    def tell(error: BaseException) -> None:
        told.append((str(error)[:5], get_job(engine, job.id).state))

    with pytest.raises(InputError, match="Row 7"), pytest.warns(UserWarning, match="odd"):
        execute_job(engine, place, job, on_failure=tell)
    assert told == [("Row 7", "running")]
    assert get_job(engine, job.id).state == "failed"


@pytest.mark.parametrize(
    ("how", "told", "in_log"),
    [
        ("bug", "ZeroDivisionError", "Traceback"),
        ("input", "Row 7 has no label", "Row 7 has no label"),
        ("exit", "ended without a word", "a library"),
    ],
)
def test_every_bad_end_is_told(engine, place, how, told, in_log, start):
    failed = wait_for_end(engine, start(engine, place, "fail", how=how))
    assert failed.state == "failed"
    assert told in failed.error
    log = "\n".join(read_log(place, failed))
    assert in_log in log or how == "exit"
    assert ("Traceback" in log) == (how == "bug")
    assert "100% done?" in log  # what a library printed, without its colours and its bell
    assert "UserWarning: something looks odd" in log


def test_a_terminated_worker_says_so(engine, place, start):
    job = start(engine, place, "fail", how="silent")
    wait_for(lambda: get_job(engine, job.id).message)
    os.kill(get_job(engine, job.id).pid, signal.SIGTERM)
    failed = wait_for_end(engine, job)
    assert failed.state == "failed"
    assert "told to end" in failed.error


def test_a_process_that_cannot_begin_is_told_with_its_last_words(engine, place):
    program = (sys.executable, "-c", "raise SystemExit('no such module: torch')")
    job = start_job(engine, place, "mine", "count", {"steps": 1}, program=program)
    failed = wait_for_end(engine, job)
    assert failed.state == "failed"
    assert "before it began: no such module: torch" in failed.error
    with pytest.raises(JobError, match="could not be started: No such file"):
        start_job(engine, place, "mine", "count", {}, program=("/does/not/exist",))


def test_a_name_that_is_no_projects_and_a_missing_project_are_refused(engine, place):
    with pytest.raises(NotFoundError, match="no project named 'nope'"):
        start_job(engine, place, "nope", "train")
    with pytest.raises(InputError, match="lower-case letters"):
        start_job(engine, place, "../away", "count", {"steps": 1})
    with pytest.raises(JobError, match="kind 'magic'"):
        start_job(engine, place, "mine", "magic")
    assert list_jobs(engine) == []


def test_a_database_named_from_the_working_folder_is_found(engine, place, monkeypatch, start):
    monkeypatch.chdir(place.root)
    near = Workspace(place.root, "sqlite:///tracin.db")
    assert wait_for_end(engine, start(engine, near, "count", steps=2)).state == "succeeded"


@pytest.mark.slow
def test_a_database_that_is_locked_for_seconds_does_not_stop_a_job(engine, place, start):
    job = start(engine, place, "count", steps=40)
    wait_for_count(place, 1)
    other = sqlite3.connect(place.root / "tracin.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        wait_for_count(place, 40)
        time.sleep(6)  # longer than a press in the review would wait
        assert get_job(engine, job.id).state == "running"
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert wait_for_end(engine, job).state == "succeeded"


def test_the_password_of_a_database_is_not_in_the_process_list(engine, place):
    job = start_by_hand(engine, place, "count", steps=1000)
    wait_for_count(place, 1)
    running = get_job(engine, job.id)
    if sys.platform == "linux":
        command = Path(f"/proc/{running.pid}/cmdline").read_bytes()
        assert b"sqlite" not in command
        assert os.getsid(running.pid) == running.pid
    request_cancel(engine, job.id)
    wait_for_end(engine, job)


def age_heartbeat(engine: Engine, job: Job, hours: float) -> None:
    with writing(engine) as connection:
        old = utc_now() - timedelta(hours=hours)
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(heartbeat_at=old))


def test_a_process_that_hangs_for_half_a_day_is_told_and_can_be_cancelled(engine, place, capsys):
    job = start_by_hand(engine, place, "count", steps=10_000)
    wait_for_count(place, 1)
    pid = get_job(engine, job.id).pid
    os.kill(pid, signal.SIGSTOP)
    age_heartbeat(engine, job, 13)
    assert fail_dead_jobs(engine) == []  # its own process is there: it is not dead
    assert main(["--workspace", str(place.root), "jobs", "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert f"No sign of life for 13 hours, though its process {pid}" in told["silence"]
    assert main(["--workspace", str(place.root), "jobs", "--cancel", str(job.id)]) == 0
    assert "is cancelled" in capsys.readouterr().out
    assert get_job(engine, job.id).state == "cancelled"
    wait_for(lambda: not process_is_alive(pid))
    assert start_by_hand(engine, place, "count", steps=1).state == "queued"  # the project is free


def test_only_the_jobs_own_process_is_taken_for_it(engine, place):
    job = start_by_hand(engine, place, "count", steps=10_000)
    wait_for_count(place, 1)
    pid = get_job(engine, job.id).pid
    assert is_worker(pid, job.id, engine.url)
    assert is_worker(pid, job.id + 1, engine.url) is False
    assert is_worker(pid, job.id, make_url("sqlite:////elsewhere/tracin.db")) is False
    assert is_worker(os.getpid(), job.id, engine.url) is False
    request_cancel(engine, job.id)
    wait_for_end(engine, job)
