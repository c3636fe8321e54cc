"""The whole measurement on small projects: what it finds, keeps, goes on with and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from relabel.cli import main
from relabel.db.jobs import list_jobs
from relabel.worth.gain import measure
from relabel.worth.gain.figures import Interval
from relabel.worth.gain.measure import NothingToMeasureError, measure_gain
from relabel.worth.gain.options import GainOptions
from relabel.worth.gain.saved import Gain, list_gains, read_latest_gain
from relabel.worth.gain.words import describe_gain, describe_headline
from tests.relabel.scoring.small_projects import (
    make_houses,
    make_images,
    make_texts,
    open_workspace,
)
from tests.relabel.worth.gain.small import correct_texts, decide
from tracin_core.errors import ConfigurationError

ZERO = Interval(0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0))
WRONG = tuple(sorted({*range(0, 120, 5), *range(1, 120, 6)}))
QUICK = GainOptions(seeds=3)


@pytest.fixture
def opened(tmp_path):
    engine, workspace = open_workspace(tmp_path)
    yield engine, workspace
    engine.dispose()


def test_corrections_of_many_wrong_labels_gain(opened):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG, train=120, test=60)
    correct_texts(engine, project, WRONG)
    gain = measure_gain(engine, workspace, "weather", QUICK)
    change = gain.main.difference("given", "corrected")
    assert gain.corrected == len(WRONG)
    assert gain.reviewed == len(WRONG)
    assert change.mean > 0
    assert change.low <= change.mean <= change.high
    assert gain.main.mean("corrected") > 0.9
    assert gain.main.mean("given") <= gain.main.mean("control") <= gain.main.mean("corrected")
    assert [one.label for one in gain.main.classes] == [0, 1]
    assert len(gain.judged) == 1  # no test label was reviewed
    assert read_latest_gain(workspace, "weather") == gain
    assert Gain.from_json(json.loads(json.dumps(gain.to_json()))) == gain
    assert not list(workspace.project_folder("weather").glob("worth/.gain-*"))


def test_a_review_that_changed_nothing_gains_exactly_nothing(opened):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    for position in range(8):
        decide(engine, project, position, "keep" if position % 2 else "ambiguous")
    gain = measure_gain(engine, workspace, "weather", QUICK)
    assert set(gain.main.differences.values()) == {ZERO}
    assert all(one.difference == ZERO for one in gain.main.classes)
    assert "no gain" in describe_headline(gain)
    assert gain.ambiguous == 4


def test_reviewed_test_labels_judge_beside_the_untouched_ones(opened):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, (0, 5))
    decide(engine, project, 0, "relabel", split="test", new_label=1)
    decide(engine, project, 1, "exclude", split="test")
    gain = measure_gain(engine, workspace, "weather", QUICK)
    assert [(one.by, one.rows) for one in gain.judged] == [("given", 20), ("current", 19)]
    assert (gain.test_reviewed, gain.test_changed) == (2, 2)
    assert any("test labels in force" in sentence for sentence in describe_gain(gain))


def test_numbers_are_measured_by_explained_variance(opened):
    engine, workspace = opened
    wrong = tuple(range(0, 200, 10))
    project = make_houses(engine, wrong=wrong)
    clean = {}
    with engine.connect() as connection:
        for position, value in connection.exec_driver_sql(
            "SELECT position, given_value FROM example WHERE split = 'train'"
        ):
            clean[position] = value / 10
    for position in wrong:
        decide(engine, project, position, "relabel", new_value=clean[position])
    gain = measure_gain(engine, workspace, "houses", QUICK)
    assert gain.measure == "r2"
    assert not gain.main.classes
    assert gain.main.mean("corrected") > 0.85
    assert gain.main.difference("given", "corrected").low > 0


def test_the_same_is_not_measured_twice_and_other_labels_are(opened, monkeypatch):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, (0, 5))
    first = measure_gain(engine, workspace, "weather", QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "train_heads", pytest.fail)
        assert measure_gain(engine, workspace, "weather", QUICK) == first
    correct_texts(engine, project, (1,))
    second = measure_gain(engine, workspace, "weather", QUICK)
    assert second.corrected == 3
    assert list_gains(workspace, "weather") == [second, first]


def test_it_goes_on_where_it_was_stopped_with_the_same_figures(opened, monkeypatch):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, WRONG[:5])
    trained = []
    real = measure.train_heads

    def count(*args, **options):
        trained.append(options["seed"])
        return real(*args, **options)

    monkeypatch.setattr(measure, "train_heads", count)

    def stop_at_the_second(report):
        if report.stage == measure.STAGE and report.done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_gain(engine, workspace, "weather", QUICK, stop_at_the_second)
    assert trained == [0, 1]
    resumed = measure_gain(engine, workspace, "weather", QUICK)
    assert trained == [0, 1, 1, 2]
    path = next(workspace.project_folder("weather").glob("worth/gain-*.json"))
    path.unlink()
    anew = measure_gain(engine, workspace, "weather", QUICK)
    assert (anew.judged, anew.control) == (resumed.judged, resumed.control)


def test_a_damaged_file_is_measured_again(opened):
    engine, workspace = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, (0,))
    first = measure_gain(engine, workspace, "weather", QUICK)
    path = next(workspace.project_folder("weather").glob("worth/gain-*.json"))
    path.write_text('{"version": 1, "judged": [{}]}')
    assert read_latest_gain(workspace, "weather") is None
    assert measure_gain(engine, workspace, "weather", QUICK).judged == first.judged


def test_it_says_what_is_missing(opened):
    engine, workspace = opened
    make_texts(engine, slug="untouched")
    with pytest.raises(NothingToMeasureError, match="no decision about a train example"):
        measure_gain(engine, workspace, "untouched", QUICK)
    project = make_texts(engine, slug="untested", test=0)
    decide(engine, project, 0, "keep")
    with pytest.raises(NothingToMeasureError, match="no test examples"):
        measure_gain(engine, workspace, "untested", QUICK)
    with pytest.raises(ConfigurationError, match="seeds = 2"):
        GainOptions(seeds=2)


def test_the_whole_network_is_trained_for_each_set_of_labels(opened, monkeypatch):
    engine, workspace = opened
    project = make_images(engine, workspace)
    for position in (0, 3):
        decide(engine, project, position, "exclude")
    monkeypatch.setattr(
        measure, "suggest_training", lambda *a, **k: type("Suggested", (), {"epochs": 2})
    )
    options = GainOptions(learner="network", seeds=3)
    gain = measure_gain(engine, workspace, "squares", options)
    assert gain.learner == "network"
    assert gain.excluded == 2
    assert len(gain.main.arms["corrected"]) == 3
    folder = workspace.project_folder("squares")
    assert not (folder / "training").exists()
    assert not list(folder.glob("worth/.gain*"))


def test_the_command_measures_and_tells(tmp_path, capsys, monkeypatch):
    engine, _workspace = open_workspace(tmp_path)
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, WRONG[:6])
    monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path))
    assert main(["gain", "weather", "--seeds", "3"]) == 0
    told = capsys.readouterr().out
    assert "test accuracy" in told
    assert "95% interval" in told
    assert "resampled" in told
    (job,) = list_jobs(engine, "weather", limit=5)
    assert (job.kind, job.state) == ("gain", "succeeded")
    assert job.result["gain"]
    assert main(["gain", "weather", "--seeds", "3", "--format", "json"]) == 0
    assert Gain.from_json(json.loads(capsys.readouterr().out)).seeds == (0, 1, 2)
    engine.dispose()


def test_arms_that_are_alike_are_trained_once():
    from relabel.worth.gain.labels import Labels

    kept = np.ones(4, dtype=bool)
    one, other = Labels(np.array([0, 1, 0, 1]), kept), Labels(np.array([0, 1, 1, 1]), kept)
    asked = []

    def predict(arms, seed, on_share):
        asked.append(len(arms))
        return np.stack([arm.targets for arm in arms])

    told = measure.predict_arms(predict, [one, one, other], 0, lambda share: None)
    assert asked == [2]
    assert told.tolist() == [[0, 1, 0, 1], [0, 1, 0, 1], [0, 1, 1, 1]]
