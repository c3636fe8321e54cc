"""A cross-validation is of the features that it read, and not of the word "auto"."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from relabel.crossval.run import cross_validate
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import read_project
from relabel.runs.held_out import read_summary
from tests.relabel.features.backbones.pieces import write_package
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import WORDS, open_workspace
from tracin_core.errors import ConfigurationError

KNOWN = (*WORDS["sun"], *WORDS["rain"])
# The sun's words point one way, the rain's another.
TABLE = np.array([[0, 0], *[[1, 0]] * 5, *[[0, 1]] * 5], dtype=np.float16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    engine, workspace = open_workspace(tmp_path_factory.mktemp("texts"))
    yield engine, workspace, small_projects.make_texts(engine, train=30, test=0)
    engine.dispose()


def ask(place, **options):
    engine, workspace, project = place
    examples = read_project(engine, project, workspace.media_folder(project.slug))
    chosen = WorkOptions(folds=2, **options)
    return cross_validate(workspace.project_folder(project.slug), project, examples, chosen)


def test_what_was_asked_before_a_backbone_was_installed_is_asked_again(
    place, tmp_path, monkeypatch
):
    without = ask(place)
    assert read_summary(without).features == ""
    write_package(tmp_path, KNOWN, TABLE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed = ask(place)
    assert read_summary(installed).features == "wordllama"
    assert ask(place, features="wordllama") == installed  # the same backbone, however it is named
    write_package(tmp_path, KNOWN, TABLE[::-1].copy())
    assert ask(place) not in (without, installed)  # other weights
    monkeypatch.undo()
    assert ask(place) == without


def test_damaged_weights_are_named_and_mended_ones_are_asked(place, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    write_package(tmp_path, KNOWN, TABLE)
    (weights,) = (tmp_path / "wordllama" / "weights").iterdir()
    whole = weights.read_bytes()
    weights.write_bytes(whole[:40])
    damaged = ask(place)
    (note,) = [note for note in read_summary(damaged).notes if "features" in note]
    assert str(weights) in note
    assert "Download or install it again." in note
    with pytest.raises(ConfigurationError, match="install it again"):
        ask(place, features="wordllama")
    weights.write_bytes(whole)
    assert read_summary(ask(place)).features == "wordllama"


def test_weights_that_a_network_begins_with_are_not_taken_for_a_backbones(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_images(engine, workspace)
    (tmp_path / "resnet.pth").write_bytes(b"of the network alone")
    chosen = {"model": "resnet18", "weights": str(tmp_path / "resnet.pth")}
    folder = ask((engine, workspace, project), features="efficientnet_lite0:32", **chosen)
    assert read_summary(folder).features == "efficientnet_lite0:32"
    engine.dispose()
