"""The command and the gradients of predictions, for a project of a few dozen texts."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from relabel.cli import main
from relabel.db.examples import find_by_positions
from relabel.runs.folder import RunFolder
from relabel.scoring.project import score_project, train_project
from relabel.triage.new_example import score_new_example
from relabel.valuation.valuation import (
    NoTestExamplesError,
    ValueQuery,
    compute_valuation,
    open_test_vectors,
)
from tests.relabel.runs.builders import make_config
from tests.relabel.scoring.small_projects import QUICK, make_texts, open_workspace


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A workspace with a scored project, the project, its run and the run's folder."""
    engine, workspace = open_workspace(tmp_path_factory.mktemp("value") / "workspace")
    project = make_texts(engine, wrong=(0, 5), train=30)
    train_project(engine, workspace, project.slug, QUICK)
    run = score_project(engine, workspace, project.slug, QUICK)
    folder = RunFolder(workspace.project_folder(project.slug) / run.folder)
    yield workspace, engine, project, run, folder
    engine.dispose()


def call(opened, *words: str) -> int:
    return main(["--workspace", str(opened[0].root), "value", *words])


def test_the_table_names_the_strongest_and_the_file_has_everybody(opened, tmp_path, capsys):
    path = tmp_path / "values.csv"
    assert call(opened, "weather", "--by", "class", "--top", "2", "--save", str(path)) == 0
    printed = capsys.readouterr().out
    assert "sun (10 test examples)" in printed
    assert "rain (10 test examples)" in printed
    assert "nats at a learning rate of 1" in printed
    folder = opened[-1]
    layers = folder.read_config().scored_layers[0]
    pairs = folder.vectors(layers, "train").astype(float) @ folder.vectors(layers, "test").T
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    assert len(rows) == 30
    for row, influences in zip(rows, pairs, strict=True):
        # Even positions are labelled sun.
        assert float(row["total sun"]) == pytest.approx(influences[::2].sum(), rel=1e-4, abs=1e-5)
        assert float(row["mean rain"]) == pytest.approx(influences[1::2].mean(), rel=1e-4, abs=1e-5)


def test_some_test_examples_are_named_by_class_or_key(opened, capsys):
    assert call(opened, "weather", "--class", "rain", "--format", "json") == 0
    [group] = json.loads(capsys.readouterr().out)["groups"]
    assert (group["group"], group["test_examples"]) == ("rain", 10)
    totals = [row["total"] for row in group["harmful"]]
    assert totals == sorted(totals)
    assert totals[-1] < 0
    assert call(opened, "weather", "--class", "snow") == 2
    assert "Choose one of: sun, rain" in capsys.readouterr().err
    assert call(opened, "weather", "--test", "nowhere") == 2
    assert "no test example with the key" in capsys.readouterr().err


def test_without_test_examples_the_way_out_is_said(tmp_path):
    config = make_config(counts={"train": 3, "test": 0})
    with pytest.raises(NoTestExamplesError, match="--test-share"):
        open_test_vectors(RunFolder(tmp_path), config, "last", "loss")


def test_scores_are_explained_as_those_of_a_new_example_are(opened, capsys):
    assert call(opened, "weather", "--explain", "score", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["unit"] == "logits at a learning rate of 1"
    _, engine, project, run, folder = opened
    for layers in folder.read_config().scored_layers:
        stored = folder.score_vectors(layers)
        assert stored is not None
        for position in (0, 7):
            [view] = find_by_positions(engine, project.id, run.id, "test", [position])
            alone = score_new_example(folder.root, text=view.text).vectors[layers]
            np.testing.assert_allclose(stored[position], alone, rtol=1e-3, atol=1e-5)
        found = compute_valuation(
            engine, project, run, folder, ValueQuery(layers=layers, explained="score")
        )
        expected = folder.vectors(layers, "train").astype(float) @ stored.astype(float).sum(0)
        np.testing.assert_allclose(found.values.totals[:, 0], expected, rtol=1e-6, atol=1e-8)
