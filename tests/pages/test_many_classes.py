"""A project of more classes than there are digits: the digits choose among the likeliest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relabel.db.decisions.history import fetch_history
from relabel.db.examples import ExampleView, get_example
from relabel.db.projects import get_project
from relabel.db.queue import next_suspect
from relabel.db.runs import current_run
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import open_of_run
from relabel.workspace import Workspace, resolve_workspace
from tests.conftest import copy_workspace
from tests.houses import run_command

NUM_CLASSES = 14


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a scored table of two numbers, never written by a test."""
    root = tmp_path_factory.mktemp("many")
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(NUM_CLASSES), 20)
    angle = 2 * np.pi * labels / NUM_CLASSES
    rows = pd.DataFrame(
        {
            "x": np.cos(angle) + draw.normal(0, 0.1, len(labels)),
            "y": np.sin(angle) + draw.normal(0, 0.1, len(labels)),
            "kind": [f"kind {label}" for label in labels],
        }
    )
    rows.to_csv(root / "kinds.csv", index=False)
    source = root / "kinds.csv"
    run_command(root, "import", "kinds", source, "--label", "kind", "--plant", "0.1", "--yes")
    run_command(root, "train", "kinds", "--epochs", "8", "--folds", "2")
    return root


@pytest.fixture
def workspace(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    root = copy_workspace(built, tmp_path / "workspace")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(root))
    return resolve_workspace()


@pytest.fixture
def suspect(engine) -> ExampleView:
    run = current_run(engine, get_project(engine, "kinds").id)
    return get_example(engine, next_suspect(engine, run.id).example_id, run.id)


def order_by_probability(workspace: Workspace, engine, view: ExampleView) -> list[int]:
    """Return the classes as models order them that have not seen the example, as the page does."""
    run = current_run(engine, view.project_id)
    held_out = open_of_run(RunFolder(workspace.project_folder("kinds") / run.folder))
    return list(np.argsort(-held_out.probabilities(view.position), kind="stable"))


def test_the_digits_stand_on_the_likeliest_classes(open_review, workspace, engine, suspect):
    offered = open_review(project="kinds").sheet["classes"]
    likeliest = order_by_probability(workspace, engine, suspect)[:10]
    assert [one["name"] for one in offered] == [f"class-{label}" for label in likeliest]
    assert [one["key"] for one in offered] == list("1234567890")


def test_a_likely_class_is_one_press(open_review, workspace, engine, suspect):
    likeliest = order_by_probability(workspace, engine, suspect)
    wanted = next(label for label in likeliest if label != suspect.given_label)
    open_review(project="kinds").press(f"class-{wanted}")
    event = fetch_history(engine, suspect.project_id).rows[0]
    assert (event.example_id, event.new_label) == (suspect.id, wanted)


def test_an_unlikely_class_is_searched(open_review, workspace, engine, suspect):
    # The given label has a button, however unlikely it is.
    unlikely = order_by_probability(workspace, engine, suspect)[::-1]
    last = next(label for label in unlikely if label != suspect.given_label)
    screen = open_review(project="kinds")
    assert screen.given["searched"] == list(get_project(engine, "kinds").classes)
    screen.search(int(last))
    event = fetch_history(engine, suspect.project_id).rows[0]
    assert (event.action, event.new_label) == ("relabel", last)


def test_without_the_runs_files_every_class_can_still_be_searched(
    open_review, built, workspace, engine, suspect
):
    (workspace.root / "projects").unlink()  # a link to the files of all tests
    shutil.copytree(built / "projects", workspace.root / "projects")
    shutil.rmtree(workspace.project_folder("kinds") / "runs")
    other = (suspect.given_label + 1) % NUM_CLASSES
    screen = open_review(project="kinds")
    assert len(screen.app.error) == 1
    screen.search(other)
    assert fetch_history(engine, suspect.project_id).rows[0].new_label == other
