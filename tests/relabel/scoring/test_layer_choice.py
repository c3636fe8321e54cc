"""A run of the last layer alone: what it has, what it costs, and that the rest does without."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run, make_current
from relabel.errors import NotFoundError, RunFolderError
from relabel.fitting.options import WorkOptions
from relabel.runs.folder import RunFolder
from relabel.scoring.estimate import estimate_scoring
from relabel.scoring.project import rescore_project, score_project, train_project
from relabel.triage.evidence import open_evidence
from relabel.triage.new_example import score_new_example
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_runs import SHARD, read_arrays, score
from tracin_core.errors import ConfigurationError

LAST = WorkOptions(model="word_embedding", folds=0, epochs=4, layers="last")
BOTH = WorkOptions(model="word_embedding", folds=0, epochs=4)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return score(tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    return score(tmp_path_factory.mktemp("last"), layers="last")


def test_nothing_of_all_layers_is_computed_or_stored(last):
    config = last.folder.read_config()
    assert config.scored_layers == ("last",)
    assert set(config.layers) == set(config.projection) == set(config.indexes) == {"last"}
    assert last.folder.read_all_signals("train").scores.get("self_influence_all") is None
    assert last.folder.read_signals("test", 3).scores.get("self_influence_all") is None
    assert not [path.name for path in last.folder.root.iterdir() if "-all" in path.name]
    assert list(last.folder.find_problems()) == []


def test_the_last_layers_numbers_are_those_of_a_run_of_both(both, last):
    expected = read_arrays(both.folder)
    for name, values in read_arrays(last.folder).items():
        # From a forward pass alone: the same sums in another order.
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_wide_vectors_of_the_last_layer_alone_are_projected_alike(tmp_path):
    folders = [
        score(tmp_path / layers, layers=layers, exact_bytes=1).folder for layers in ("both", "last")
    ]
    whole, alone = (folder.vectors("last", "train") for folder in folders)
    assert alone.shape == (1500, 512)
    np.testing.assert_allclose(alone, whole, rtol=1e-3, atol=1e-5)


def test_rows_of_a_run_of_the_other_sort_are_not_reused(both, last, tmp_path):
    options = {"relabelled": (3,), "layers": "last"}
    assert score(tmp_path, base=last.folder, **options).num_computed["train"] == 1
    assert score(tmp_path / "other", base=both.folder, **options).num_computed["train"] == 1500


class Killed(BaseException):
    """Ends a scoring at a chosen moment."""


def test_a_scoring_of_the_last_layer_that_dies_goes_on_to_the_same_bits(last, tmp_path):
    def die(report):
        if report.done > 3 * SHARD * 3:
            raise Killed

    with pytest.raises(Killed):
        score(tmp_path, layers="last", on_progress=die)
    resumed, expected = score(tmp_path, layers="last"), read_arrays(last.folder)
    for name, values in read_arrays(resumed.folder).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_evidence_is_that_of_the_last_layer_unless_more_is_there(both, last):
    assert open_evidence(both.folder.root).layers == ("all", "last")
    evidence = open_evidence(last.folder.root)
    assert evidence.layers == ("last",)
    found = evidence.neighbours("train", 5, side="opponents")
    assert found == evidence.neighbours("train", 5, side="opponents", layers="last")
    assert evidence.recall() == 1.0
    with pytest.raises(RunFolderError, match=r"over the last layer alone.*--layers both"):
        evidence.neighbours("train", 5, side="opponents", layers="all")


def test_a_new_example_has_the_vectors_that_its_run_has(both, last):
    text = "tree river stone stone night"
    whole, alone = (score_new_example(run.folder.root, text=text) for run in (both, last))
    assert set(alone.vectors) == {"last"}
    np.testing.assert_allclose(alone.vectors["last"], whole.vectors["last"], atol=1e-6)
    evidence = open_evidence(last.folder.root)
    assert evidence.neighbours_of_vector(alone.vectors["last"], side="proponents")


class TestOfAProject:
    @pytest.fixture
    def place(self, tmp_path):
        engine, workspace = small_projects.open_workspace(tmp_path)
        yield engine, workspace
        engine.dispose()

    @pytest.fixture
    def project(self, place):
        made = small_projects.make_texts(place[0], wrong=(3, 20))
        train_project(*place, made.slug, BOTH)
        return made

    def test_it_switches_between_runs_of_both_sorts(self, place, project):
        engine, _ = place
        whole = score_project(*place, project.slug, BOTH)
        alone = score_project(*place, project.slug, LAST)
        assert whole.key != alone.key
        assert set(whole.signals) - set(alone.signals) == {"self_influence_all"}
        assert set(alone.config["layers"]) == {"last"}
        assert fetch_page(engine, alone.id).total == 60
        with pytest.raises(NotFoundError, match="not ranked by 'self_influence_all'"):
            fetch_page(engine, alone.id, signal="self_influence_all")
        make_current(engine, project.id, whole.id)
        assert fetch_page(engine, whole.id, signal="self_influence_all").total == 60
        assert score_project(*place, project.slug, LAST).id == alone.id

    def test_a_rescoring_keeps_the_layers(self, place, project):
        engine, workspace = place
        first = score_project(*place, project.slug, LAST)
        suspect = fetch_page(engine, first.id, page_size=1).rows[0]
        record_decision(
            engine,
            NewDecision(
                example_id=suspect.example_id,
                expected_version=0,
                reviewer="ann",
                action="relabel",
                new_label=1 - suspect.given_label,
            ),
        )
        again = rescore_project(engine, workspace, project.slug)
        assert again.examples_computed == 1
        run = current_run(engine, project.id)
        assert run.key != first.key
        folder = RunFolder(workspace.project_folder(project.slug) / run.folder)
        assert folder.read_config().scored_layers == ("last",)
        assert list(folder.find_problems()) == []

    def test_it_costs_less(self, place, project):
        whole, alone = (estimate_scoring(*place, project.slug, one) for one in (BOTH, LAST))
        assert alone.seconds < 0.7 * whole.seconds
        assert alone.bytes_on_disk == whole.bytes_on_disk - 80 * 4 * 512

    def test_numbers_are_scored_by_the_last_layer_too(self, place):
        project = small_projects.make_houses(place[0], wrong=(7, 150))
        train_project(*place, project.slug, WorkOptions(epochs=30))
        run = score_project(*place, project.slug, WorkOptions(layers="last"))
        assert "self_influence_all" not in run.signals
        found = fetch_page(place[0], run.id, page_size=2).rows
        assert {row.position for row in found} == {7, 150}


def test_no_other_layers_can_be_chosen():
    with pytest.raises(ConfigurationError, match="layers = 'all'; expected both or last"):
        WorkOptions(layers="all")
    assert WorkOptions.from_json(LAST.to_json()) == LAST
    old = {name: value for name, value in BOTH.to_json().items() if name != "layers"}
    assert WorkOptions.from_json(old) == BOTH  # a job of before there was a choice
