"""Long work as rows: one at a time, alive or dead."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy import update

from relabel.db.engine import writing
from relabel.db.jobs import (
    PID_TRUSTED_FOR,
    STALE_AFTER,
    active_job,
    claim_job,
    create_job,
    describe_silence,
    fail_dead_jobs,
    finish_job,
    get_job,
    heartbeat,
    list_jobs,
    process_is_alive,
    request_cancel,
)
from relabel.db.projects import create_project
from relabel.db.schema import JobRow, utc_now
from relabel.errors import JobError, NotFoundError
from relabel.jobs.launch import cancel_job
from tests.relabel.db.builders import build_scene
from tracin_core.errors import InputError


@pytest.fixture
def job(scene):
    return create_job(scene.engine, scene.project.slug, "score", message="waiting")


def change(engine, job_id, **values):
    with writing(engine) as connection:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(**values))


def test_a_job_lives_from_queued_to_succeeded(engine, job):
    assert (job.state, job.progress, job.message, job.kind) == ("queued", 0.0, "waiting", "score")
    running = claim_job(engine, job.id)
    assert (running.state, running.pid) == ("running", os.getpid())
    assert running.started_at == running.heartbeat_at
    assert heartbeat(engine, job.id, progress=0.5, message="batch 3") is False
    half = get_job(engine, job.id)
    assert (half.progress, half.message) == (0.5, "batch 3")
    assert half.heartbeat_at >= running.heartbeat_at
    done = finish_job(engine, job.id, "succeeded")
    assert (done.state, done.progress, done.message) == ("succeeded", 1.0, "batch 3")
    assert done.finished_at is not None
    assert active_job(engine, job.project_slug) is None


def test_a_project_has_one_active_job(scene, job):
    with pytest.raises(JobError, match=r"score is queued \(0%\).*Wait"):
        create_job(scene.engine, scene.project.slug, "train")
    other = build_scene(scene.engine)
    assert create_job(scene.engine, other.project.slug, "train").state == "queued"
    finish_job(scene.engine, job.id, "failed", error="no memory")
    second = create_job(scene.engine, scene.project.slug, "score")
    assert [one.id for one in list_jobs(scene.engine, scene.project.slug)] == [second.id, job.id]
    assert get_job(scene.engine, job.id).error == "no memory"


def test_an_import_has_a_job_before_there_is_a_project(engine):
    options = {"path": "/data/é.csv", "plant": 0.1, "features": ["a", None]}
    job = create_job(engine, "birds", "import", options=options, log="logs/job-{id}.log")
    assert (job.project_id, job.project_slug, job.options) == (None, "birds", options)
    assert (job.log, job.result, job.seconds_left) == (f"logs/job-{job.id}.log", {}, None)
    with pytest.raises(JobError, match="import is queued"):
        create_job(engine, "birds", "train")
    project = create_project(engine, slug="birds", title="B", kind="text", classes=["a", "b"])
    done = finish_job(engine, job.id, "succeeded", result={"added": {"train": 3}})
    assert done.result == {"added": {"train": 3}}
    assert create_job(engine, "birds", "train").project_id == project.id


@pytest.mark.sqlite_only
def test_a_job_needs_a_name_that_a_project_can_have(engine):
    with pytest.raises(InputError, match="'No name'"):
        create_job(engine, "No name", "import")
    assert list_jobs(engine) == []


@pytest.mark.parametrize(("told", "kept"), [(12.5, 12.5), (None, None), (float("inf"), None)])
def test_the_time_left_is_kept_until_the_end(engine, job, told, kept):
    claim_job(engine, job.id)
    heartbeat(engine, job.id, progress=0.5, seconds_left=told)
    assert get_job(engine, job.id).seconds_left == kept
    assert finish_job(engine, job.id, "failed").seconds_left is None


def test_jobs_are_listed_by_project_or_all_newest_first(scene, job):
    other = create_job(scene.engine, build_scene(scene.engine).project.slug, "train")
    assert [one.id for one in list_jobs(scene.engine)] == [other.id, job.id]
    assert [one.id for one in list_jobs(scene.engine, limit=1)] == [other.id]
    assert list_jobs(scene.engine, scene.project.slug) == [job]
    assert list_jobs(scene.engine, "nobody") == []


def test_a_job_is_claimed_once(engine, job):
    claim_job(engine, job.id)
    with pytest.raises(JobError, match="is running"):
        claim_job(engine, job.id)


@pytest.mark.sqlite_only
def test_progress_stays_between_nothing_and_all(engine, job):
    claim_job(engine, job.id)
    for given, kept in ((-1, 0.0), (1.7, 1.0)):
        heartbeat(engine, job.id, progress=given)
        assert get_job(engine, job.id).progress == kept


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(engine, scene, job):
    assert request_cancel(engine, job.id).state == "cancelled"
    with pytest.raises(JobError, match="cancelled already"):
        request_cancel(engine, job.id)
    second = create_job(engine, scene.project.slug, "score")
    claim_job(engine, second.id)
    assert request_cancel(engine, second.id).state == "running"
    assert heartbeat(engine, second.id) is True
    assert finish_job(engine, second.id, "cancelled").state == "cancelled"


def test_a_job_ends_once(engine, job):
    claim_job(engine, job.id)
    finish_job(engine, job.id, "failed", error="broken")
    with pytest.raises(JobError, match=r"failed already \(broken\)"):
        finish_job(engine, job.id, "succeeded")
    with pytest.raises(JobError, match="failed already"):
        heartbeat(engine, job.id)


def test_an_unknown_job_or_project_is_told(engine):
    for ask in (get_job, claim_job, heartbeat, request_cancel):
        with pytest.raises(NotFoundError, match="job with id 5"):
            ask(engine, 5)
    with pytest.raises(NotFoundError, match="project with id 5"):
        create_job(engine, "pets", "score", project_id=5)


def dead_process() -> int:
    """Return the id of a process that has just ended and was asked for."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_job_whose_process_is_gone_fails_and_frees_the_project(scene, job):
    claim_job(scene.engine, job.id)
    heartbeat(scene.engine, job.id, progress=0.25)
    assert fail_dead_jobs(scene.engine) == []
    change(scene.engine, job.id, pid=dead_process())
    (failed,) = fail_dead_jobs(scene.engine)
    assert (failed.id, failed.state) == (job.id, "failed")
    assert "at 25%. Start it again" in failed.error
    assert fail_dead_jobs(scene.engine) == []
    create_job(scene.engine, scene.project.slug, "score")


def test_a_silent_job_of_another_host_fails(engine, job):
    claim_job(engine, job.id)
    change(engine, job.id, hostname="elsewhere", pid=1)
    assert fail_dead_jobs(engine) == []
    change(engine, job.id, heartbeat_at=utc_now() - STALE_AFTER - timedelta(seconds=1))
    assert [one.id for one in fail_dead_jobs(engine)] == [job.id]


def test_a_live_process_is_trusted_through_a_long_sleep_but_not_for_ever(engine, job):
    claim_job(engine, job.id)
    change(engine, job.id, heartbeat_at=utc_now() - STALE_AFTER * 10)
    assert fail_dead_jobs(engine) == []
    change(engine, job.id, heartbeat_at=utc_now() - PID_TRUSTED_FOR * 1.1)
    assert [one.id for one in fail_dead_jobs(engine)] == [job.id]


def test_a_process_number_that_another_program_has_is_no_sign_of_life(engine, scene):
    # As after a restart of the machine: the number lives, but was started as something else.
    job = create_job(engine, scene.project.slug, "train", log="logs/job-{id}.log")
    claim_job(engine, job.id)
    assert fail_dead_jobs(engine) == []
    change(engine, job.id, heartbeat_at=utc_now() - STALE_AFTER - timedelta(seconds=1))
    (dead,) = fail_dead_jobs(engine)
    assert f"another program has its number {os.getpid()}" in dead.error


def test_a_clock_that_was_set_back_keeps_no_job_of_another_host_for_ever(engine, job):
    claim_job(engine, job.id)
    change(engine, job.id, hostname="elsewhere", pid=1)
    change(engine, job.id, heartbeat_at=utc_now() + timedelta(minutes=30))
    assert fail_dead_jobs(engine) == []
    change(engine, job.id, heartbeat_at=utc_now() + timedelta(days=400))
    assert [one.id for one in fail_dead_jobs(engine)] == [job.id]


@pytest.mark.sqlite_only
def test_silence_is_told_with_how_long_and_whose(engine, job):
    claim_job(engine, job.id)
    assert describe_silence(get_job(engine, job.id)) == ""
    change(engine, job.id, heartbeat_at=utc_now() - timedelta(minutes=30))
    told = describe_silence(get_job(engine, job.id))
    assert f"No sign of life for 30 minutes, though its process {os.getpid()} on" in told
    assert "cancel it" in told
    # A terminal's job cannot be told apart from a number that another process got.
    request_cancel(engine, job.id)
    assert active_job(engine, get_job(engine, job.id).project_slug) is not None
    assert cancel_job(engine, job.id).state == "cancelled"
    with pytest.raises(JobError, match="cancelled already"):
        heartbeat(engine, job.id)


def test_a_job_that_was_never_started_fails(engine, job):
    assert fail_dead_jobs(engine) == []
    assert [one.id for one in fail_dead_jobs(engine, stale_after=timedelta(0))] == [job.id]


def test_a_zombie_is_not_alive():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_is_alive(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet asked for
    if sys.platform == "linux":
        assert not process_is_alive(process.pid)
    process.communicate()
    assert not process_is_alive(process.pid)
    assert process_is_alive(os.getpid())
    assert process_is_alive(1)
