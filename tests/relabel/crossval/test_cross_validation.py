"""A project's cross-validation: what it finds, keeps, leaves out, and how it goes on."""

from __future__ import annotations

import resource
import signal

import numpy as np
import pytest

from relabel.crossval import run as running
from relabel.crossval.run import cross_validate
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import find_by_positions
from relabel.db.queue import fetch_page
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import read_project
from relabel.runs.held_out import open_held_out, read_summary
from relabel.scoring.project import rescore_project, score_project, train_project
from relabel.triage.signals import choose_default_signal
from tests.relabel.scoring import small_projects
from tests.relabel.scoring.small_projects import open_workspace
from tracin_core.errors import ConfigurationError

WRONG = (3, 20, 41)


class StoppedError(Exception):
    """Ends the work where a test wants it."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    engine, workspace = open_workspace(tmp_path_factory.mktemp("texts"))
    project = small_projects.make_texts(engine, wrong=WRONG)
    yield engine, workspace, project
    engine.dispose()


def ask(place, options=WorkOptions(), on_progress=lambda report: None):  # noqa: B008
    engine, workspace, project = place
    examples = read_project(engine, project, workspace.media_folder(project.slug))
    folder = workspace.project_folder(project.slug)
    return cross_validate(folder, project, examples, options, on_progress)


def test_labels_that_others_contradict_are_found(texts):
    folder = ask(texts)
    held_out = open_held_out(folder, 60, 2)
    given = np.arange(60) % 2
    given[list(WRONG)] = 1 - given[list(WRONG)]
    assert set(np.argsort(-held_out.margins(given))[:3].tolist()) == set(WRONG)
    for position in WRONG:
        assert held_out.opinion(position, int(given[position])).label == position % 2
    summary = held_out.summary
    assert (summary.folds, summary.repeats, summary.num_examples) == (10, 3, 60)
    assert summary.num_test == 20
    assert summary.agreement > 0.9
    assert sum(one.weight for one in summary.candidates) == pytest.approx(1)
    agreements = [one.agreement for one in summary.candidates]
    assert agreements == sorted(agreements, reverse=True)
    assert summary.network == "ngram_linear"
    assert not list(folder.glob("part-*"))


def test_the_same_question_is_not_asked_twice(texts):
    folder = ask(texts)
    reports = []
    assert ask(texts, on_progress=reports.append) == folder
    assert reports == []
    other = ask(texts, WorkOptions(seed=1))
    assert other != folder
    assert read_summary(folder) is not None


def test_stopped_anywhere_it_ends_with_the_same_numbers(tmp_path):
    stored, told = [], []
    for stop_at in (None, "words_linear", "words_rescaled"):
        engine, workspace = open_workspace(tmp_path / str(stop_at))
        project = small_projects.make_texts(engine, wrong=WRONG)
        place = (engine, workspace, project)
        if stop_at is not None:

            def stop(report, stop_at=stop_at, workspace=workspace):
                folder = workspace.project_folder("weather") / running.FOLDER
                if list(folder.glob(f"*/part-{stop_at}.json")):
                    raise StoppedError

            with pytest.raises(StoppedError):
                ask(place, on_progress=stop)
            assert all(read_summary(each) is None for each in folder_of(workspace).iterdir())
        reports: list[str] = []
        folder = ask(place, on_progress=lambda report, into=reports: into.append(report.stage))
        stored.append((folder / "held_out.npy").read_bytes())
        told.append(len(reports))
        engine.dispose()
    assert stored[0] == stored[1] == stored[2]
    assert told[2] < told[1] < told[0]  # what was asked is not asked again


def test_a_full_disk_leaves_nothing_half_written_and_is_gone_on_from(texts, tmp_path):
    whole = (ask(texts) / "held_out.npy").read_bytes()
    engine, workspace = open_workspace(tmp_path)
    place = (engine, workspace, small_projects.make_texts(engine, wrong=WRONG))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))  # a part of 60 rows has 608 bytes
    try:
        with pytest.raises(OSError, match="part-"):
            ask(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    (own,) = folder_of(workspace).iterdir()
    assert list(own.iterdir()) == []
    assert (ask(place) / "held_out.npy").read_bytes() == whole
    engine.dispose()


def folder_of(workspace):
    return workspace.project_folder("weather") / running.FOLDER


def test_a_training_ranks_by_suspicion_and_a_rescoring_keeps_what_was_said(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_texts(engine, wrong=WRONG)
    train_project(engine, workspace, project.slug, WorkOptions(epochs=3))
    run = score_project(engine, workspace, project.slug, WorkOptions())
    assert choose_default_signal(run.signals) == "suspicion"
    assert run.config["held_out"]["network"] == run.config["model"]["name"] == "ngram_linear"
    first = fetch_page(engine, run.id, signal="suspicion", page_size=3).rows
    assert {row.position for row in first} == set(WRONG)
    (view,) = find_by_positions(engine, project.id, None, "train", [3])
    record_decision(
        engine,
        NewDecision(
            example_id=view.id,
            expected_version=view.version,
            reviewer="ann",
            action="relabel",
            new_label=1,
        ),
    )
    again = rescore_project(engine, workspace, project.slug)
    assert again.examples_computed == 1
    page = fetch_page(engine, again.run.id, signal="suspicion", page_size=60).rows
    rank = [row.position for row in page].index(3)
    assert rank >= 10  # its new label is what models expect that have not seen it
    engine.dispose()


def test_a_persons_choice_stands_and_nobody_need_be_asked(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_texts(engine)
    chosen = WorkOptions(model="word_embedding", epochs=1)
    train_project(engine, workspace, project.slug, chosen)
    run = score_project(engine, workspace, project.slug, WorkOptions())
    assert run.config["model"]["name"] == "word_embedding"
    assert "suspicion" in run.signals
    train_project(engine, workspace, project.slug, WorkOptions(epochs=1, folds=0, seed=1))
    run = score_project(engine, workspace, project.slug, WorkOptions())
    assert "suspicion" not in run.signals
    assert "held_out" not in run.config
    engine.dispose()


def test_regressions_find_slipped_decimal_points(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_houses(engine, wrong=(7, 150))
    place = (engine, workspace, project)
    folder = ask(place, WorkOptions(folds=3))
    held_out = open_held_out(folder, 200, 0)
    examples = read_project(engine, project, workspace.media_folder(project.slug))
    off = np.abs(examples.splits["train"].targets - held_out.values)
    assert set(np.argsort(-off)[:2].tolist()) == {7, 150}
    names = {one.name for one in held_out.summary.candidates}
    assert names == {"rows_boosted", "rows_linear", "mlp"}
    assert held_out.summary.test_error > 0
    engine.dispose()


def test_excluded_examples_are_asked_about_and_not_learned_from(tmp_path, monkeypatch):
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_texts(engine, wrong=WRONG)
    (view,) = find_by_positions(engine, project.id, None, "train", [3])
    record_decision(
        engine,
        NewDecision(
            example_id=view.id, expected_version=view.version, reviewer="ann", action="exclude"
        ),
    )
    learned = []
    original = running._CrossValidation._fold
    monkeypatch.setattr(
        running._CrossValidation,
        "_fold",
        lambda self, rows, used, *rest: learned.append(used) or original(self, rows, used, *rest),
    )
    media = workspace.media_folder(project.slug)
    examples = read_project(engine, project, media, "current")
    folder = cross_validate(
        workspace.project_folder(project.slug), project, examples, WorkOptions(folds=2)
    )
    assert learned
    assert not any(3 in used for used in learned)
    assert open_held_out(folder, 60, 2).opinion(3, 0).label == 1
    engine.dispose()


def test_a_class_with_one_example_is_no_suspect_for_that_alone(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    labels = [number % 2 for number in range(40)] + [2]
    project = small_projects.make_labelled(engine, labels, ("a", "b", "c"))
    folder = ask((engine, workspace, project))
    held_out = open_held_out(folder, 41, 3)
    margins = held_out.margins(np.array(labels))
    assert margins[40] <= 1e-3
    assert any("'c' has a single example" in note for note in held_out.summary.notes)
    engine.dispose()


def test_many_classes_are_asked_about_in_fewer_folds_and_by_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "MOST_SECONDS_OF_QUICK", 0.5)
    engine, workspace = open_workspace(tmp_path)
    project = small_projects.make_texts(engine, wrong=WRONG)
    summary = read_summary(ask((engine, workspace, project)))
    assert (summary.folds, summary.repeats) == (3, 1)
    assert any("cut into 3 folds, fewer than usual" in note for note in summary.notes)
    left_out = [note for note in summary.notes if "left out" in note]
    assert left_out
    assert len(summary.candidates) + len(left_out) == 6
    engine.dispose()


def test_features_that_are_asked_for_and_not_there_are_an_error(texts):
    with pytest.raises(ConfigurationError):
        ask(texts, WorkOptions(features="static:/nowhere.vec"))


@pytest.mark.parametrize("folds", [1, -1, 101, 2.0])
def test_folds_that_cannot_be_are_refused(folds):
    with pytest.raises(ConfigurationError, match="folds"):
        WorkOptions(folds=folds)


@pytest.mark.parametrize("make", ["texts", "images"])
def test_a_project_does_without_a_frozen_network(tmp_path, make):
    engine, workspace = open_workspace(tmp_path)
    if make == "texts":
        project = small_projects.make_texts(engine)
    else:
        project = small_projects.make_images(engine, workspace)
    options = WorkOptions(features="none", epochs=1, folds=2)
    train_project(engine, workspace, project.slug, options)
    run = score_project(engine, workspace, project.slug, WorkOptions())
    network = {"texts": "ngram_linear", "images": "small_cnn"}[make]
    assert run.config["model"]["name"] == network
    assert "suspicion" in run.signals
    with pytest.raises(ConfigurationError, match=r"features none with the model linear_head"):
        train_project(
            engine,
            workspace,
            project.slug,
            WorkOptions(features="none", model="linear_head", folds=0),
        )
    engine.dispose()
