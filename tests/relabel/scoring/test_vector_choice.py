"""Exact last-layer vectors only where they are affordable: decided once, recorded, followed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sqlalchemy import update

from relabel.db.runs import current_run
from relabel.db.schema import RunRow
from relabel.fitting.saved import find_newest_training
from relabel.runs.config import ProjectionEntry
from relabel.runs.folder import RunFolder
from relabel.scoring import estimate as estimate_module
from relabel.scoring.estimate import (
    PASS_RATIO,
    choose_last_projection,
    estimate_full_rescoring,
    estimate_scoring,
    explain_full_rescoring,
)
from relabel.scoring.project import rescore_project, score_project, train_project
from relabel.triage.new_example import minus_class_logit, score_new_example
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_runs import SHARD, make_network, read_arrays, score
from tracin_core.checkpoints import Checkpoint
from tracin_core.errors import ConfigurationError
from tracin_core.projection.config import Projection
from tracin_core.tracin import TracIn

# Three checkpoints of three classes with 64 features and a bias, of 1,500 + 40 examples.
NUMBERS = 3 * 3 * 65
BYTES = 4 * NUMBERS * 1540


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """A run whose exact vectors just fit; read only."""
    return score(tmp_path_factory.mktemp("exact"), exact_bytes=BYTES)


@pytest.fixture(scope="module")
def projected(tmp_path_factory):
    """A run of the same examples whose exact vectors are a byte too large; read only."""
    return score(tmp_path_factory.mktemp("projected"), exact_bytes=BYTES - 1)


@pytest.mark.parametrize(
    ("numbers", "num_examples", "exact"),
    [
        (8192, 1000, True),
        (8193, 1000, False),
        (5200, 12_000, True),
        (5200, 70_000, False),
        (512, 10_000_000, True),  # a projected vector would be as long
    ],
)
def test_vectors_are_exact_where_they_are_short_and_few(numbers, num_examples, exact):
    assert (choose_last_projection(numbers, num_examples) is None) is exact


def test_the_choice_is_recorded_with_what_it_was_made_from(exact, projected):
    of_exact, of_projected = exact.folder.read_config(), projected.folder.read_config()
    assert of_exact.projection["last"] is None
    assert of_projected.projection["last"] == ProjectionEntry(dim=512)
    assert of_exact.projection["all"] == of_projected.projection["all"]
    assert of_exact.last_numbers == of_projected.last_numbers == NUMBERS
    assert of_exact.scoring_hash != of_projected.scoring_hash
    assert exact.folder.vectors("last", "train").shape == (1500, NUMBERS)
    assert projected.folder.vectors("last", "train").shape == (1500, 512)


def test_projected_vectors_estimate_what_exact_ones_tell(exact, projected):
    products, lengths = [], []
    for run in (exact, projected):
        train, test = (
            run.folder.vectors("last", split).astype(np.float64) for split in ("train", "test")
        )
        products.append(train @ test.T)
        lengths.append(np.outer(np.linalg.norm(train, axis=1), np.linalg.norm(test, axis=1)))
    errors = (products[1] - products[0]) / lengths[0]
    assert np.sqrt((errors**2).mean()) < 1.5 * (2 / 512) ** 0.5
    signals = [run.folder.read_all_signals("train") for run in (exact, projected)]
    np.testing.assert_array_equal(
        signals[0].scores["self_influence_last"], signals[1].scores["self_influence_last"]
    )


@pytest.mark.parametrize("budgets", [(BYTES, BYTES - 1), (BYTES - 1, BYTES)])
def test_rows_of_the_other_sort_are_not_reused(exact, projected, tmp_path, budgets):
    base = exact if budgets[0] == BYTES else projected
    same = score(tmp_path, relabelled=(3,), base=base.folder, exact_bytes=budgets[0])
    assert same.num_computed["train"] == 1
    other = score(tmp_path, relabelled=(3,), base=base.folder, exact_bytes=budgets[1])
    assert other.num_computed["train"] == 1500
    assert other.folder.root != same.folder.root


def test_a_set_that_grows_over_the_budget_is_computed_anew(tmp_path):
    budget = 4 * NUMBERS * (1280 + 40)
    base = score(tmp_path, train=1024, exact_bytes=budget).folder
    grown = score(tmp_path, train=1280, exact_bytes=budget, base=base)
    assert grown.num_computed == {"train": 256, "test": 0}
    assert grown.folder.read_config().projection["last"] is None
    over = score(tmp_path, train=1281, exact_bytes=budget, base=grown.folder)
    assert over.num_computed == {"train": 1281, "test": 40}
    assert over.folder.read_config().projection["last"] is not None


class Killed(BaseException):
    """Ends a scoring at a chosen moment."""


def die_in_shard(root, number: int, **options) -> None:
    def die(report):
        if report.done > number * SHARD * 3:
            raise Killed

    with pytest.raises(Killed):
        score(root, on_progress=die, **options)


def test_a_projected_scoring_that_dies_goes_on_to_the_same_bits(projected, tmp_path):
    die_in_shard(tmp_path, 3, exact_bytes=BYTES - 1)
    reports = []
    resumed = score(tmp_path, exact_bytes=BYTES - 1, on_progress=reports.append)
    assert reports[0].done > 3 * SHARD * 3
    expected = read_arrays(projected.folder)
    for name, values in read_arrays(resumed.folder).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_an_unfinished_run_of_the_other_sort_is_not_continued(tmp_path):
    die_in_shard(tmp_path, 3, exact_bytes=BYTES)
    run = score(tmp_path, exact_bytes=BYTES - 1)
    assert run.num_computed["train"] == 1500
    assert list((tmp_path / "runs").iterdir()) == [run.folder.root]


def test_a_new_example_follows_the_record_of_its_run(exact, projected, tmp_path):
    text = "tree river stone stone night"
    found = [score_new_example(run.folder.root, text=text) for run in (exact, projected)]
    assert found[0].vectors["last"].shape == (NUMBERS,)
    network = make_network(tmp_path)
    encoded = network.encoder.encode(text)
    checkpoints = [
        Checkpoint(tmp_path / one.file, one.learning_rate, one.step) for one in network.checkpoints
    ]
    for scored, projection in zip(found, (None, Projection(512)), strict=True):
        engine = TracIn(network.model, checkpoints, minus_class_logit, layers="last", rates="ones")
        expected = engine.vectors([(encoded, torch.tensor(scored.predicted))], projection)[0]
        np.testing.assert_allclose(scored.vectors["last"], expected.numpy(), atol=1e-5)
    # Its products with stored vectors of the same sort estimate the exact ones.
    products = [
        run.folder.vectors("last", "train") @ scored.vectors["last"]
        for run, scored in zip((exact, projected), found, strict=True)
    ]
    assert np.corrcoef(*products)[0, 1] > 0.9


class TestTheEstimate:
    @pytest.fixture
    def place(self, tmp_path):
        engine, workspace = small_projects.open_workspace(tmp_path)
        yield engine, workspace
        engine.dispose()

    @pytest.fixture
    def project(self, place):
        made = small_projects.make_images(*place)
        train_project(*place, made.slug, small_projects.QUICK)
        return made

    def test_it_counts_what_the_run_then_takes(self, place, project):
        score_project(*place, project.slug, small_projects.QUICK)
        run = current_run(place[0], project.id)
        # 64 features and a bias for each of two classes; what exact vectors of a run take is known.
        assert run.config["last_numbers"] == 65 * 2 * len(run.checkpoints)
        estimate = estimate_scoring(*place, project.slug, small_projects.QUICK)
        folder = RunFolder(place[1].project_folder(project.slug) / run.folder)
        stored = sum(folder.vectors("last", split).nbytes for split in ("train", "test"))
        assert (estimate.exact_last_bytes, estimate.is_last_exact) == (stored, True)

    def test_a_project_that_outgrows_its_exact_vectors_is_told(self, place, project, monkeypatch):
        steps = find_newest_training(place[1], project.slug).steps_on_disk
        score_project(*place, project.slug, dataclasses.replace(small_projects.QUICK, steps=steps))
        assert estimate_full_rescoring(place[0], project.slug) is None
        monkeypatch.setattr(estimate_module, "EXACT_BYTES", 50 * 4 * 65 * 2 * 4 - 1)
        estimate = estimate_full_rescoring(place[0], project.slug)
        assert estimate is not None
        assert not estimate.is_last_exact
        assert "50 examples would take 104 kB, more than 104 kB" in explain_full_rescoring(estimate)
        again = rescore_project(*place, project.slug)
        assert again.examples_computed == 50
        assert estimate_full_rescoring(place[0], project.slug) is None  # and now they are projected

    def test_a_rescoring_that_computed_little_tells_nothing_of_the_time(self, place, project):
        run = score_project(*place, project.slug, small_projects.QUICK)
        whole = estimate_scoring(*place, project.slug, small_projects.QUICK)
        config = {**run.config, "num_computed": {"train": 1, "test": 0}}
        with place[0].begin() as connection:
            connection.execute(update(RunRow).where(RunRow.id == run.id).values(config=config))
        after = estimate_scoring(*place, project.slug, small_projects.QUICK)
        training = find_newest_training(place[1], project.slug)
        each = PASS_RATIO * training.seconds / (len(training.epochs) * 40)
        assert after.seconds == pytest.approx(each * 50 * after.num_checkpoints)
        assert after.seconds != pytest.approx(whole.seconds)


def test_the_chosen_device_computes(tmp_path):
    with pytest.raises(ConfigurationError, match="Device 'nowhere' cannot be used"):
        score(tmp_path, device="nowhere")
