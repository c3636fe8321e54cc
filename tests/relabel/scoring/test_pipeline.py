"""Any project of the database is trained and scored: images, texts, rows, classes and numbers."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import find_by_positions
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.errors import NotFoundError, WorkspaceError
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import list_trainings
from relabel.runs.folder import RunFolder
from relabel.scoring.estimate import estimate_scoring
from relabel.scoring.project import score_project, train_project
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import QUICK, open_workspace
from tracin_core.errors import ConfigurationError


@pytest.fixture
def place(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    yield engine, workspace
    engine.dispose()


def work_on(place, project, options=QUICK, scoring=None):
    """Train and score; return the run's folder."""
    train_project(*place, project.slug, options)
    return score(place, project, scoring or options)


def score(place, project, options=QUICK):
    run = score_project(*place, project.slug, options)
    return RunFolder(place[1].project_folder(project.slug) / run.folder)


def suspects(place, project, count, signal="self_influence"):
    run = current_run(place[0], project.id)
    rows = fetch_page(place[0], run.id, signal=signal, page_size=count).rows
    return {row.position for row in rows}


def decide(place, project, position, action, **what):
    (view,) = find_by_positions(place[0], project.id, None, "train", [position])
    record_decision(
        place[0],
        NewDecision(
            example_id=view.id,
            expected_version=view.version,
            reviewer="ann",
            action=action,
            **what,
        ),
    )


def test_texts_with_wrong_labels_come_first(place):
    project = small_projects.make_texts(place[0], wrong=(3, 20))
    run = work_on(place, project, WorkOptions(model="word_embedding", epochs=20))
    assert list(run.find_problems()) == []
    assert suspects(place, project, 2) == {3, 20}
    config = run.read_config()
    assert (config.kind, config.task, config.classes) == ("text", "classification", ("sun", "rain"))
    assert config.counts == {"train": 60, "test": 20}
    assert config.model["name"] == "word_embedding"


def test_images_are_trained_and_scored(place):
    project = small_projects.make_images(*place)
    run = work_on(place, project, WorkOptions(epochs=12))
    assert run.read_config().checkpoints[-1].test_accuracy == 1.0
    assert run.read_config().encoder["height"] == 8


def test_rows_of_a_table_are_trained_and_scored(place):
    project = small_projects.make_rows(place[0])
    run = work_on(place, project, WorkOptions(epochs=20))
    assert run.read_config().checkpoints[-1].test_accuracy > 0.8
    assert run.read_config().model["name"] == "mlp"


def test_a_regression_is_told_in_the_targets_own_unit(place):
    project = small_projects.make_houses(place[0], wrong=(7, 150))
    run = work_on(place, project, WorkOptions(epochs=30))
    config, signals = run.read_config(), run.read_all_signals("train")
    assert (config.task, config.target, config.classes) == ("regression", "price", ())
    last = config.checkpoints[-1]
    assert last.test_accuracy is None
    assert 0 < last.test_rmse < 100_000
    views = find_by_positions(place[0], project.id, None, "train", range(200))
    given = np.array([view.given_value for view in views])
    sums = signals.predicted_value + signals.residual
    np.testing.assert_allclose(sums, np.broadcast_to(given, sums.shape), rtol=1e-4)
    assert np.median(np.abs(signals.residual[-1])) < 60_000
    for signal in ("self_influence", "mean_loss", "mean_residual"):
        assert suspects(place, project, 2, signal) == {7, 150}
    run_id = current_run(place[0], project.id).id
    (view,) = find_by_positions(place[0], project.id, run_id, "train", [7])
    assert view.predicted_value == pytest.approx(float(signals.predicted_value[-1, 7]))
    assert view.predicted_label is None
    assert run.read_probabilities("train", 7).shape == (0,)
    assert list(run.find_problems()) == []


def test_a_corrected_number_is_computed_alone(place):
    project = small_projects.make_houses(place[0], wrong=(7,))
    before = work_on(place, project, WorkOptions(epochs=5)).read_all_signals("train")
    decide(place, project, 7, "relabel", new_value=100_000.0)
    reports = []
    run = score_project(*place, project.slug, QUICK, reports.append)
    scored = {r.total for r in reports if r.stage == "scoring the train examples"}
    after = RunFolder(place[1].project_folder("houses") / run.folder).read_all_signals("train")
    changed = (before.residual != after.residual).any(axis=0)
    assert np.flatnonzero(changed).tolist() == [7]
    assert scored == {200 * len(after.loss)}
    assert sum(r.stage == "scoring the train examples" for r in reports) <= len(after.loss)


def test_a_finished_training_is_found_again(place):
    project = small_projects.make_texts(place[0])
    first = train_project(*place, project.slug, QUICK)
    reports = []
    assert train_project(*place, project.slug, QUICK, reports.append) == first
    assert [r.done for r in reports if r.stage == "training"] == [0, 4 * 60]
    other = train_project(*place, project.slug, dataclasses.replace(QUICK, seed=1))
    assert other != first
    assert [info.folder for info in list_trainings(place[1], "weather")] == [first, other]


def test_one_seed_gives_the_same_numbers_and_another_does_not(tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        place = open_workspace(tmp_path / name)
        project = small_projects.make_texts(place[0])
        run = work_on(place, project, dataclasses.replace(QUICK, seed=seed))
        found.append(run.read_all_signals("train").scores["self_influence_all"])
        place[0].dispose()
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_a_person_can_choose_other_checkpoints(place):
    project = small_projects.make_texts(place[0])
    train_project(*place, project.slug, QUICK)
    (info,) = list_trainings(place[1], project.slug)
    assert info.finished
    assert info.model == "word_embedding"
    assert info.steps_on_disk == (1, 2, 3, 4)
    run = score(place, project, WorkOptions(steps=(4, 2)))
    assert [entry.step for entry in run.read_config().checkpoints] == [2, 4]
    with pytest.raises(NotFoundError, match="no checkpoint at step 7; expected some of the steps"):
        score(place, project, WorkOptions(steps=(7,)))


def test_vectors_carry_the_rates_that_were_chosen(place):
    project = small_projects.make_texts(place[0])
    ones = work_on(place, project)
    recorded = score(place, project, dataclasses.replace(QUICK, rates="recorded"))
    rates = np.array([entry.learning_rate for entry in ones.read_config().checkpoints])
    norms = ones.read_all_signals("train").scores["self_influence_last"]
    lengths = (recorded.vectors("last", "train").astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(lengths, rates @ norms, rtol=1e-4)


def test_decisions_change_what_is_trained_on_unless_told_otherwise(place):
    project = small_projects.make_texts(place[0], wrong=(3,))
    given = dataclasses.replace(QUICK, labels="given")
    before = train_project(*place, project.slug, QUICK)
    assert train_project(*place, project.slug, given) == before
    decide(place, project, 3, "relabel", new_label=1)
    assert train_project(*place, project.slug, given) == before
    relabelled = train_project(*place, project.slug, QUICK)
    assert relabelled != before
    decide(place, project, 4, "exclude")
    reports = []
    excluded = train_project(*place, project.slug, QUICK, reports.append)
    assert excluded != relabelled
    assert next(r.total for r in reports if r.stage == "training") == 4 * 59
    assert score(place, project).read_config().counts == {"train": 60, "test": 20}


@pytest.mark.parametrize("labels", [[0, 0, 0], []])
def test_what_cannot_be_learned_is_refused(place, labels):
    project = small_projects.make_labelled(place[0], labels, ["a", "b"])
    with pytest.raises(ConfigurationError, match=r"at least two different ones.*Import more data"):
        train_project(*place, project.slug, QUICK)


def test_a_class_with_one_example_and_one_without_any_are_no_trouble(place):
    project = small_projects.make_labelled(place[0], [0] * 10 + [1] * 10 + [2], "abcd")
    run = work_on(place, project)
    assert run.read_probabilities("train", 20).shape == (4,)


def test_of_many_classes_the_largest_probabilities_are_kept(place):
    names = [f"class {number}" for number in range(300)]
    project = small_projects.make_labelled(place[0], list(range(300)) * 2, names)
    run = work_on(place, project, WorkOptions(epochs=2, folds=0))
    assert run.probabilities("train").shape == (600, 128)
    found = run.read_probabilities("train", 5)
    assert found.shape == (300,)
    assert (found > 0).sum() == 64
    signals = run.read_all_signals("train")
    assert found.argmax() == signals.predicted[-1, 5]
    assert found.max() == run.largest_probabilities("train")[5]
    assert list(run.find_problems()) == []


def test_nothing_to_score_with_is_said(place):
    project = small_projects.make_texts(place[0])
    with pytest.raises(NotFoundError, match=r"no finished training.*train weather"):
        score_project(*place, project.slug, QUICK)


def test_with_the_training_gone_the_runs_own_checkpoints_serve(place):
    project = small_projects.make_texts(place[0])
    run = work_on(place, project)
    shutil.rmtree(place[1].project_folder(project.slug) / "training")
    shutil.rmtree(place[1].project_folder(project.slug) / "encoded")
    decide(place, project, 0, "relabel", new_label=1)
    again = score(place, project)
    assert [e.sha256 for e in again.read_config().checkpoints] == [
        e.sha256 for e in run.read_config().checkpoints
    ]


class CancelledError(Exception):
    pass


def _train_and_score(place, project, on_progress):
    train_project(*place, project.slug, QUICK, on_progress)
    score_project(*place, project.slug, QUICK, on_progress)


@pytest.mark.parametrize("stage", ["encoding", "training", "scoring the train"])
def test_cancelled_work_leaves_nothing_half_made_and_goes_on(tmp_path, stage):
    def cancel(report):
        if report.stage.startswith(stage) and report.done > 0:
            raise CancelledError

    runs = []
    for name in ("whole", "cancelled"):
        place = open_workspace(tmp_path / name)
        project = small_projects.make_texts(place[0])
        if name == "cancelled":
            with pytest.raises(CancelledError):
                _train_and_score(place, project, cancel)
            assert current_run(place[0], project.id) is None
        runs.append(work_on(place, project))
        place[0].dispose()
    for name in ("loss", "self_influence_all"):
        first, second = (run.read_all_signals("train").list_columns()[name] for run in runs)
        np.testing.assert_array_equal(first, second)


def test_what_a_scoring_costs_is_estimated_before_it_starts(place):
    project = small_projects.make_texts(place[0])
    unknown = estimate_scoring(*place, project.slug, QUICK)
    assert (unknown.seconds, unknown.num_examples, unknown.num_checkpoints) == (None, 80, 0)
    train_project(*place, project.slug, QUICK)
    guessed = estimate_scoring(*place, project.slug, QUICK)
    (info,) = list_trainings(place[1], project.slug)
    assert guessed.num_checkpoints == len(info.chosen)
    assert guessed.seconds > 0
    run = score(place, project)
    timings = run.read_config().timings
    known = estimate_scoring(*place, project.slug, QUICK)
    assert known.seconds == pytest.approx(timings["score_train"] + timings["score_test"], rel=0.01)
    files = ("vectors-*.npy", "signals-*", "probabilities-*", "digests-*")
    size = sum(path.stat().st_size for name in files for path in run.root.glob(name))
    one = estimate_scoring(*place, project.slug, WorkOptions(steps=(1,)))
    assert one.seconds == pytest.approx(known.seconds / len(info.chosen))
    assert size / 3 < known.bytes_on_disk < 3 * size


def test_encoded_examples_are_kept_until_they_are_stale(place):
    project = small_projects.make_texts(place[0])
    folder = place[1].project_folder(project.slug) / "encoded"
    work_on(place, project)
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(kept) == 2
    (folder / ".half.new").mkdir()
    decide(place, project, 3, "relabel", new_label=0)
    work_on(place, project)  # a changed label changes no input
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == kept
    for path in kept:
        (path / "inputs.npy").write_bytes(b"cut off")
    score(place, project, dataclasses.replace(QUICK, rates="recorded"))
    assert all((path / "inputs.npy").stat().st_size > 1000 for path in kept)


def test_a_lost_image_is_named(place):
    project = small_projects.make_images(*place)
    (place[1].media_folder("squares") / "train" / "4.png").unlink()
    with pytest.raises(WorkspaceError, match=r"4\.png cannot be read"):
        train_project(*place, project.slug, QUICK)


@pytest.mark.slow
def test_resnet18_begins_with_weights_from_a_local_file(place, tmp_path):
    import torch

    from relabel.models.build import build_model
    from relabel.models.networks.image import ResNet18Config

    published = build_model(ResNet18Config(height=64, width=64, channels=3, num_outputs=9))
    project = small_projects.make_images(*place)
    path = tmp_path / "resnet18.pt"
    torch.save({**published.state_dict(), "conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    options = WorkOptions(model="resnet18", weights=str(path), epochs=1, batch_size=8)
    folder = train_project(*place, project.slug, options)
    trained = torch.load(next((folder / "checkpoints").iterdir()), weights_only=True)["state_dict"]
    assert trained["fc.weight"].shape == (2, 512)
    assert trained["conv1.weight"].shape == (64, 3, 7, 7)
    drift = (
        trained["layer4.1.conv2.weight"] - published.state_dict()["layer4.1.conv2.weight"]
    ).norm()
    assert drift < 0.5 * published.state_dict()["layer4.1.conv2.weight"].norm()
    path.write_bytes(b"other")
    with pytest.raises(ConfigurationError, match="cannot be read safely"):
        train_project(*place, project.slug, options)


def test_a_model_of_another_kind_is_refused_with_those_that_fit(place):
    project = small_projects.make_texts(place[0])
    with pytest.raises(ConfigurationError, match="expected one of word_embedding, small_transf"):
        train_project(*place, project.slug, WorkOptions(model="small_cnn"))


def test_options_survive_json_and_unknown_ones_are_refused():
    options = WorkOptions(model="mlp", steps=(3, 9), epochs=2, rates="recorded")
    assert WorkOptions.from_json(options.to_json()) == options
    with pytest.raises(ConfigurationError, match="does not know: volume"):
        WorkOptions.from_json({"volume": 11})
    with pytest.raises(ConfigurationError, match="expected ones or recorded"):
        WorkOptions(rates="half")
