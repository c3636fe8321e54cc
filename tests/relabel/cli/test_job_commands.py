"""Long work from the terminal: in the job table, seen by others, stopped with Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import update

from relabel.cli import main
from relabel.db.engine import open_database, writing
from relabel.db.jobs import claim_job, create_job, finish_job, get_job, list_jobs, request_cancel
from relabel.db.schema import JobRow
from relabel.errors import JobError
from relabel.fitting.saved import list_trainings
from relabel.jobs.launch import run_job_inline, start_job
from relabel.jobs.tasks import find_task
from relabel.workspace import REPOSITORY_ROOT, resolve_workspace
from tests.relabel.cli.interruption import start_command
from tests.relabel.jobs import quick_work

quick_work.register()


def read_curve(place, slug):
    """Return the epochs so far of the training that was asked for last."""
    trainings = list_trainings(place, slug)
    return list(trainings[-1].epochs) if trainings else []


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "work"))
    place = resolve_workspace()
    place.prepare()
    return place


@pytest.fixture
def engine(place):
    engine = open_database(place.database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def mine(place, tmp_path, capsys):
    """A small project of texts, imported by the command."""
    table = tmp_path / "texts.csv"
    words = {"good": "nice kind warm", "bad": "ugly cold rude"}
    rows = [
        f"{words[label].split()[n % 3]} thing number {n},{label}"
        for n in range(90)
        for label in words
    ]
    table.write_text("\n".join(["text,label", *rows]))
    assert main(["import", "mine", str(table), "--yes"]) == 0
    capsys.readouterr()
    return "mine"


def test_import_train_and_rescore_are_jobs_that_others_see(mine, place, engine, capsys):
    assert main(["train", mine, "--epochs", "2", "--seed", "1"]) == 0
    said = capsys.readouterr()
    assert "mine: training " in said.out
    # Every stage moves the job's bar.
    stages = re.findall(r"^mine: (.+) \.\.\.$", said.err, re.MULTILINE)
    asking = next(n for n, stage in enumerate(stages) if stage.startswith("asking models"))
    assert asking < stages.index("training")
    plan = find_task("train").stage_shares
    assert [stage for stage in stages if not stage.startswith(tuple(plan))] == []
    assert main(["rescore", mine]) == 0
    assert "0 examples were computed" in capsys.readouterr().out
    assert main(["queue", mine, "--top", "1", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 144
    jobs = list_jobs(engine, mine)
    assert [(job.kind, job.state) for job in jobs] == [
        ("rescore", "succeeded"),
        ("train", "succeeded"),
        ("import", "succeeded"),
    ]
    assert jobs[1].options["epochs"] == 2
    assert jobs[1].result["run"] == jobs[0].result["run"]
    assert jobs[2].result["added"] == {"train": 144, "test": 36}
    assert [epoch["epoch"] for epoch in read_curve(place, mine)] == [1, 2]


def test_ctrl_c_cancels_and_a_second_terminal_is_told_who_works(mine, engine, capsys):
    process = start_command("train", mine, "--epochs", "5000", "--folds", "0")
    try:
        assert any("training ..." in line for line in process.stderr)
        while get_job(engine, 2).progress == 0:  # torch is loaded, and epochs are counted
            assert process.poll() is None
            time.sleep(0.01)
        assert main(["score", mine]) == 2
        said = capsys.readouterr().err
        assert f"by process {process.pid} on" in said
        assert "job 2 (train)" in said
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert "Stopped" in rest
    assert "Traceback" not in rest
    assert get_job(engine, 2).state == "cancelled"


def test_a_job_of_a_terminal_can_be_cancelled_from_elsewhere(place, engine):
    def cancel() -> None:
        # Elsewhere nobody shares the engine, which a job makes its own when it begins.
        other = open_database(place.database_url)
        while not any(job.state == "running" for job in list_jobs(other)):
            time.sleep(0.01)
        request_cancel(other, list_jobs(other)[0].id)
        other.dispose()

    thread = threading.Thread(target=cancel)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(JobError, match=r"Job 1 \(count mine\) was cancelled"):
        run_job_inline(engine, place, "mine", "count", {"steps": 5000})
    thread.join()
    assert time.monotonic() - begun < 30  # of 100 seconds, on a busy machine
    assert get_job(engine, 1).state == "cancelled"


def test_a_failing_job_of_a_terminal_is_recorded(place, engine, capsys):
    with pytest.warns(UserWarning, match="odd"), pytest.raises(ZeroDivisionError):
        run_job_inline(engine, place, "mine", "fail", {"how": "bug"})
    failed = get_job(engine, 1)
    assert failed.state == "failed"
    assert "ZeroDivisionError" in failed.error


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_a_killed_training_goes_on_in_a_new_job(mine, place, engine, capsys):
    assert main(["train", mine, "--epochs", "60", "--folds", "0", "--background"]) == 0
    assert "job 2 (train) is started" in capsys.readouterr().out
    while len(read_curve(place, mine)) < 2:
        time.sleep(0.05)
        assert get_job(engine, 2).state in ("queued", "running"), get_job(engine, 2).error
    os.kill(get_job(engine, 2).pid, signal.SIGKILL)
    kept = len(read_curve(place, mine))
    assert main(["jobs", "--wait", "2"]) == 1
    assert "ended without a word" in capsys.readouterr().out
    assert main(["jobs", "--retry", "2"]) == 0
    assert main(["jobs", "--wait", "3"]) == 0
    assert len(read_curve(place, mine)) == 60 > kept
    assert main(["jobs", "--log", "3"]) == 0
    assert "scoring the train examples" in capsys.readouterr().out


def test_the_jobs_are_listed_with_what_became_of_them(place, engine, capsys):
    assert main(["jobs"]) == 0
    assert "No jobs yet" in capsys.readouterr().out
    failed = claim_job(engine, create_job(engine, "pets", "train").id)
    finish_job(engine, failed.id, "failed", error="Row 7\x1b[2J has no label.")
    create_job(engine, "cars", "import")
    assert main(["jobs"]) == 0
    shown = capsys.readouterr().out
    assert "Row 7?[2J has no label." in shown
    assert "queued" in shown
    assert main(["jobs", "cars", "--format", "json"]) == 0
    assert [job["project_slug"] for job in json.loads(capsys.readouterr().out)] == ["cars"]
    assert main(["jobs", "--cancel", "2"]) == 0
    assert "is cancelled" in capsys.readouterr().out
    assert main(["jobs", "--cancel", "2"]) == 2
    assert main(["jobs", "--log", "99"]) == 2
    assert "Found no job with id 99" in capsys.readouterr().err


def test_the_doctor_tells_dead_jobs(place, engine, preloaded, capsys):
    program = (*preloaded.python, *quick_work.PROGRAM[1:])
    job = start_job(engine, place, "mine", "fail", {"how": "silent"}, program=program)
    while get_job(engine, job.id).state == "queued":
        time.sleep(0.02)
    # The watching thread of this process may be first; the doctor of another one is not it.
    lone = claim_job(engine, create_job(engine, "other", "train").id)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with writing(engine) as connection:
        connection.execute(update(JobRow).where(JobRow.id == lone.id).values(pid=ended.pid))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert f"Job {lone.id} (train other) had died" in shown
    assert f"jobs --retry {lone.id}" in shown
    assert f"Job {job.id} (fail mine) is running" in shown
    request_cancel(engine, job.id)
    while get_job(engine, job.id).state == "running":
        time.sleep(0.02)


def test_the_workers_command_is_not_for_people():
    done = subprocess.run(
        [sys.executable, "-m", "relabel", "--help"],
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "restore" in done.stdout
    assert "SUPPRESS" not in done.stdout
    assert "\n  work " not in done.stdout
    assert "\n  restore " in done.stdout


def test_running_my_own_code_must_be_agreed_to(mine, tmp_path, capsys, engine):
    file = tmp_path / "net.py"
    file.write_text("raise SystemExit('was run')")
    assert main(["train", mine, "--model", f"{file}:make"]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert "--run-my-code" in said
    assert len(list_jobs(engine)) == 1
