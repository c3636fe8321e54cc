"""The command and the gradients of predictions, for a project of a few dozen texts."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from relabel.cli import main
from relabel.db.engine import open_database
from relabel.db.examples import find_by_positions
from relabel.db.positions import read_placed
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.runs.folder import RunFolder
from relabel.triage.new_example import score_new_example
from relabel.valuation.valuation import (
    NoTestExamplesError,
    ValueQuery,
    compute_valuation,
    open_test_vectors,
)
from relabel.workspace import resolve_workspace
from tests.relabel.runs.builders import make_config


@pytest.fixture(scope="module")
def opened(built_demos, tmp_path_factory):
    """A workspace of the module's own with the texts, the project, its run and the run's folder."""
    root = tmp_path_factory.mktemp("value") / "workspace"
    shutil.copytree(built_demos / "projects" / "docs", root / "projects" / "docs")
    for part in built_demos.glob("tracin.db*"):
        shutil.copy2(part, root / part.name)
    workspace = resolve_workspace(root)
    engine = open_database(workspace.database_url)
    project = get_project(engine, "docs")
    run = current_run(engine, project.id)
    folder = RunFolder(workspace.project_folder(project.slug) / run.folder)
    yield workspace, engine, project, run, folder
    engine.dispose()


def call(opened, *words: str) -> int:
    return main(["--workspace", str(opened[0].root), "value", *words])


def test_the_table_names_the_strongest_and_the_file_has_everybody(opened, tmp_path, capsys):
    path = tmp_path / "values.csv"
    assert call(opened, "docs", "--by", "class", "--top", "2", "--save", str(path)) == 0
    printed = capsys.readouterr().out
    assert "charts (80 test examples)" in printed
    assert "nats at a learning rate of 1" in printed
    assert "512 numbers" in printed
    _, engine, project, run, folder = opened
    test = read_placed(engine, project.id, run.id, "test", 640)
    pairs = folder.vectors("last", "train").astype(float) @ folder.vectors("last", "test").T
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    of_charts = pairs[:, test.labels == project.classes.index("charts")]
    totals = [float(row["total charts"]) for row in rows]
    np.testing.assert_allclose(totals, of_charts.sum(1), rtol=1e-4, atol=1e-5)
    means = [float(row["mean charts"]) for row in rows]
    np.testing.assert_allclose(means, of_charts.mean(1), rtol=1e-4, atol=1e-5)


def test_some_test_examples_are_named_by_class_or_key(opened, capsys):
    assert call(opened, "docs", "--class", "charts", "--format", "json") == 0
    [group] = json.loads(capsys.readouterr().out)["groups"]
    assert (group["group"], group["test_examples"]) == ("charts", 80)
    totals = [row["total"] for row in group["harmful"]]
    assert totals == sorted(totals)
    assert totals[-1] < 0
    _, engine, project, run, _ = opened
    keys = read_placed(engine, project.id, run.id, "test", 640).keys[:2]
    named = [word for key in keys for word in ("--test", key)]
    assert call(opened, "docs", *named, "--format", "json") == 0
    [group] = json.loads(capsys.readouterr().out)["groups"]
    assert group["test_examples"] == 2
    assert call(opened, "docs", "--class", "snow") == 2
    assert "Choose one of: " in capsys.readouterr().err
    assert call(opened, "docs", "--test", "nowhere") == 2
    assert "no test example with the key" in capsys.readouterr().err


def test_without_test_examples_the_way_out_is_said(tmp_path):
    config = make_config(counts={"train": 3, "test": 0})
    with pytest.raises(NoTestExamplesError, match="--test-share"):
        open_test_vectors(RunFolder(tmp_path), config, "last", "loss")


def test_scores_are_explained_as_those_of_a_new_example_are(opened, capsys):
    assert call(opened, "docs", "--explain", "score", "--format", "json") == 0
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
