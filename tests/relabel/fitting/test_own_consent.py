"""A yes is to one content of a file: a job that is repeated after a change asks again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from relabel.cli import main
from relabel.db.jobs import ACTIVE, Job, get_job, list_jobs
from relabel.jobs.launch import retry_job, run_job_inline
from relabel.models.user.config import describe_own_model, hash_source, require_consent
from relabel.workspace import Workspace
from tracin_core.errors import ConfigurationError

TRACE = "Path(__file__).with_name('ran').touch()\n"


def train(mine: str, net: Path, *more: str) -> int:
    options = ["--epochs", "2", "--learning-rate", "0.5", "--run-my-code", "--folds", "0"]
    return main(["train", mine, "--model", f"{net}:build", *options, *more])


def test_consent_to_a_digest_is_to_that_content_only(net: Path):
    reference = f"{net}:build"
    config = describe_own_model(reference, kind="text", classes=("a", "b"))
    digest = hash_source(net.read_bytes())
    for model in (config, config.to_json(), reference):
        require_consent(model, agreed=digest)
        with pytest.raises(ConfigurationError, match=rf"{'0' * 8}.*agree to it anew"):
            require_consent(model, agreed="0" * 64)


def test_a_job_keeps_what_was_agreed_to(mine: str, net: Path, engine, capsys):
    assert train(mine, net) == 0
    (job,) = [job for job in list_jobs(engine, mine) if job.kind == "train"]
    assert job.options["run_my_code"] == hash_source(net.read_bytes())
    # What is scored again needs the same yes, and keeps the same digest.
    assert main(["score", mine, "--run-my-code"]) == 0
    assert main(["rescore", mine, "--run-my-code"]) == 0
    for job in list_jobs(engine, mine)[:2]:
        assert job.options["run_my_code"] == hash_source(net.read_bytes())


@pytest.mark.parametrize("command", ["score", "rescore"])
def test_nobody_is_asked_twice_and_nothing_runs_without_an_answer(
    mine: str, net: Path, engine, capsys, command: str
):
    assert train(mine, net) == 0
    before = len(list_jobs(engine, mine))
    assert main([command, mine]) == 2
    assert "--run-my-code" in capsys.readouterr().err
    assert len(list_jobs(engine, mine)) == before


def test_a_job_that_is_tried_again_after_a_change_runs_nothing(
    mine: str, net: Path, place: Workspace, engine, capsys
):
    net.write_text(net.read_text().replace("return OwnModel", "return OwnMistake"))
    assert train(mine, net) == 2
    capsys.readouterr()
    failed = list_jobs(engine, mine, limit=1)[0]
    assert failed.state == "failed"
    net.write_text(net.read_text().replace("OwnMistake", "OwnModel") + TRACE)
    with pytest.raises(ConfigurationError, match="agree to it anew"):
        retry_job(engine, place, failed.id)
    # Nor where the job itself comes to it, or an older version kept a yes without a digest.
    for agreed, told in ((failed.options["run_my_code"], "anew"), (True, "--run-my-code")):
        with pytest.raises(ConfigurationError, match=told):
            run_job_inline(engine, place, mine, "train", {**failed.options, "run_my_code": agreed})
    assert not net.with_name("ran").exists()
    assert train(mine, net) == 0  # the way out
    assert net.with_name("ran").exists()


def test_scores_are_not_brought_up_by_a_file_that_has_changed(mine: str, net: Path, engine, capsys):
    assert train(mine, net) == 0
    net.write_text(net.read_text() + TRACE)
    capsys.readouterr()
    assert main(["rescore", mine, "--run-my-code"]) == 2
    assert "has changed since" in capsys.readouterr().err
    assert not net.with_name("ran").exists()


def test_another_network_than_the_one_agreed_to_is_not_scored(
    mine: str, net: Path, place: Workspace, engine, capsys
):
    assert train(mine, net, "--no-score") == 0
    agreed = hash_source(net.read_bytes())
    net.write_text(net.read_text() + "\n" + TRACE)
    assert train(mine, net, "--no-score") == 0  # the newest training by now
    net.with_name("ran").unlink()
    with pytest.raises(ConfigurationError, match="the network is another one by now"):
        run_job_inline(engine, place, mine, "score", {"run_my_code": agreed})
    assert not net.with_name("ran").exists()


def wait_for(engine, job: Job) -> Job:
    deadline = time.monotonic() + 120
    while job.state in ACTIVE and time.monotonic() < deadline:
        time.sleep(0.1)
        job = get_job(engine, job.id)
    return job


@pytest.mark.slow
@pytest.mark.usefixtures("forked")
def test_the_yes_goes_along_into_the_background(
    mine: str, net: Path, place: Workspace, engine, capsys
):
    assert train(mine, net, "--background") == 0
    assert "is started" in capsys.readouterr().out
    job = wait_for(engine, list_jobs(engine, mine, limit=1)[0])
    assert (job.state, job.error) == ("succeeded", "")
    assert job.options["run_my_code"] == hash_source(net.read_bytes())
    assert {"run", "training", "last_layer"} <= set(job.result)
    # In a process of its own a mistake ends in the same words.
    net.write_text(net.read_text().replace("nn.Linear(4,", "nn.Linear(5,"))
    assert train(mine, net, "--background") == 0
    failed = wait_for(engine, list_jobs(engine, mine, limit=1)[0])
    assert failed.state == "failed"
    assert "for an input of (3, 4) float32" in failed.error
