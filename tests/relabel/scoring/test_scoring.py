"""What a built demo's run holds: consistent numbers, on disk and in the database."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.features.encoding import encoder_from_json
from relabel.fitting.stored import read_project
from relabel.models.build import build_model
from relabel.models.builtin import model_config_from_json
from relabel.runs.config import hash_file
from relabel.runs.folder import RunFolder
from relabel.scoring.entry import gather_known
from relabel.triage.signals import compute_signals, list_signals
from tests.relabel.jobs.workspaces import find_run

# Float32 sums of some thousand squares.
SINGLE = {"rtol": 2e-4}


@pytest.fixture
def run(workspace) -> RunFolder:
    return RunFolder(find_run(workspace))


def test_a_built_run_is_whole(run):
    assert list(run.find_problems()) == []
    config = run.read_config()
    assert config.counts == {"train": 1438, "test": 359}
    assert 5 <= len(config.checkpoints) <= 8
    assert config.layers["last"] == ("logits",)
    assert set(config.layers["all"]) == {"conv1", "conv2", "hidden", "logits"}
    assert config.indexes["all"].recall >= 0.95
    assert all(len(entry.sha256) == 64 and entry.learning_rate > 0 for entry in config.checkpoints)
    assert all(hash_file(run.root / entry.file) == entry.sha256 for entry in config.checkpoints)
    assert config.epochs[-1]["train_loss"] < config.epochs[0]["train_loss"]


def test_squared_lengths_of_exact_vectors_are_the_self_influence(run):
    signals = run.read_all_signals("train")
    lengths = (run.vectors("last", "train").astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(lengths, signals.scores["self_influence_last"].sum(axis=0), **SINGLE)


def test_projected_vectors_keep_lengths_as_far_as_a_projection_can(run):
    signals = run.read_all_signals("train")
    lengths = (run.vectors("all", "train").astype(np.float64) ** 2).sum(axis=1)
    expected = signals.scores["self_influence_all"].astype(np.float64).sum(axis=0)
    # Relative deviation sqrt(2 / 512) = 6%; the mean over examples of one bound.
    assert abs(lengths / expected - 1).mean() < 0.12


def test_stored_signals_are_those_of_autograd_one_example_at_a_time(run, workspace):
    config = run.read_config()
    encoder = encoder_from_json(dict(config.encoder))
    model = build_model(model_config_from_json(dict(config.model))).double().eval()
    image = workspace.media_folder("digits") / "train" / "00007.png"
    inputs = encoder.encode(image.read_bytes()).double().unsqueeze(0)
    stored = run.read_signals("train", 7)
    given = given_label_of(workspace, 7)
    for number, entry in enumerate(config.checkpoints):
        state = torch.load(run.root / entry.file, weights_only=True)["state_dict"]
        model.load_state_dict(state)
        logits = model(inputs)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([given]))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        squares = [float((gradient**2).sum()) for gradient in gradients]
        assert stored.loss[number] == pytest.approx(loss.item(), rel=1e-3, abs=1e-6)
        assert stored.scores["self_influence_all"][number] == pytest.approx(sum(squares), rel=1e-3)
        assert stored.scores["self_influence_last"][number] == pytest.approx(
            sum(squares[-2:]), rel=1e-3
        )
    assert run.read_probabilities("train", 7) == pytest.approx(
        logits.softmax(1)[0].detach().numpy(), abs=1e-5
    )


def given_label_of(workspace, position: int) -> int:
    engine = open_database(workspace.database_url)
    run_id = current_run(engine, get_project(engine, "digits").id).id
    rows = [fetch_page(engine, run_id, page=page, page_size=1000).rows for page in (1, 2)]
    engine.dispose()
    return next(row.given_label for page in rows for row in page if row.position == position)


def test_the_database_ranks_by_the_signals_on_disk(run, workspace):
    engine = open_database(workspace.database_url)
    registered = current_run(engine, get_project(engine, "digits").id)
    rates = [entry.learning_rate for entry in run.read_config().checkpoints]
    project = get_project(engine, "digits")
    examples = read_project(engine, project, workspace.media_folder("digits"), "given")
    targets = {split: part.targets for split, part in examples.splits.items()}
    known = gather_known(run, run.read_config(), targets)
    scores = compute_signals(run.read_all_signals("train"), rates, known)
    assert registered.key == run.read_config().key
    assert set(scores) == set(registered.signals) < set(list_signals())
    for signal, values in scores.items():
        best = fetch_page(engine, registered.id, signal=signal, page_size=20).rows
        assert [row.score for row in best] == pytest.approx(sorted(values, reverse=True)[:20])
        assert best[0].position == int(np.argmax(values))
    engine.dispose()


def test_planted_errors_come_first(workspace, capsys):
    from relabel.cli import main

    assert main(["evaluate", "digits", "--format", "json"]) == 0
    signals = {entry["signal"]: entry for entry in json.loads(capsys.readouterr().out)["signals"]}
    assert signals["self_influence"]["found"][2] > 0.9  # a fifth inspected
    assert signals["self_influence"]["auroc"] > 0.95
    assert signals["random"]["auroc"] == 0.5
