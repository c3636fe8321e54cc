"""Every attribution method scores a project, by its own options, and a rescoring keeps them."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.cli.work import collect_work_options
from relabel.fitting.options import WorkOptions
from relabel.runs.folder import RunFolder
from relabel.scoring.project import rescore_project, score_project, train_project
from tests.relabel.scoring import small_projects
from tracin_core import CheckpointError, ConfigurationError, list_methods

WRONG = (3, 20)
OPTIONS = {
    "influence_functions": {"damping": 0.05, "solver": "arnoldi", "rank": 8},
    "representer": {"decay": 0.02},
    "feature_neighbours": {"count": 5},
}
SCORED = [name for name in list_methods() if name != "tracin_adam"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    engine, workspace = small_projects.open_workspace(tmp_path_factory.mktemp("all"))
    project = small_projects.make_texts(engine, wrong=WRONG)
    options = WorkOptions(epochs=4, model="word_embedding", folds=0)
    train_project(engine, workspace, project.slug, options)
    yield engine, workspace, project.slug
    engine.dispose()


@pytest.mark.parametrize("name", SCORED)
def test_a_project_is_scored_by_every_method(name, trained):
    engine, workspace, slug = trained
    options = WorkOptions(method=name, method_options=OPTIONS.get(name, {}))
    run = score_project(engine, workspace, slug, options)
    folder = RunFolder(workspace.project_folder(slug) / run.folder)
    config = folder.read_config()
    assert config.method == name
    assert OPTIONS.get(name, {}).items() <= config.method_configuration.items()
    scores = folder.read_all_signals("train").scores
    assert set(scores) == set(list_methods()[name].scores)
    for values in scores.values():
        assert np.isfinite(values).all()
        assert len(np.unique(values)) > 1
    again = rescore_project(engine, workspace, slug)
    assert again.run.config["method_configuration"] == config.method_configuration


def test_what_a_project_does_not_have_is_said(trained):
    engine, workspace, slug = trained
    with pytest.raises(CheckpointError, match="no optimizer's state"):
        score_project(engine, workspace, slug, WorkOptions(method="tracin_adam"))
    wrong = WorkOptions(method="representer", method_options={"damping": 1})
    with pytest.raises(ConfigurationError, match="the option 'damping' of representer points"):
        score_project(engine, workspace, slug, wrong)


def test_options_of_a_method_are_kept_with_the_job():
    given = {"method": "influence_functions", "method_options": {"damping": 0.5}}
    stored = collect_work_options(given)
    assert WorkOptions.from_json(stored).method_options == {"damping": 0.5}
    assert hash(WorkOptions.from_json(stored)) == hash(WorkOptions(method="influence_functions"))
