"""A method and a signal that nobody knew are everywhere once they are in their tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from relabel.cli import main
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import Run, current_run
from relabel.fitting.options import WorkOptions
from relabel.runs.folder import RunFolder
from relabel.scoring.project import rescore_project, score_project, train_project
from relabel.triage.signals import SIGNALS, Signal, choose_default_signal, list_signals
from relabel.workspace import Workspace
from tests.relabel.scoring import small_projects
from tracin_core.attribution import (
    Attributor,
    get_method,
    list_methods,
    register_attributor,
    register_temporarily,
)
from tracin_core.attribution.tracincp import TracInCP
from tracin_core.errors import ConfigurationError, GradientError


class WordCount:
    """Texts are the more suspect the more words they have."""

    needs = frozenset({"labels"})
    fitted = 0

    def __init__(self, setup):
        self._power = setup.options.get("power", 2)
        self.configuration = {"power": self._power}

    def scores(self, train):
        counts = torch.cat([(inputs > 0).sum(1) for inputs, _ in train])
        return {"words_squared": counts.float() ** self._power, "words": counts.float()}

    def influence(self, train, test):
        raise NotImplementedError


class Compared(WordCount):
    """The same, less the mean of the whole train set."""

    needs = frozenset({"labels", "whole train set"})

    def fit(self, train):
        type(self).fitted += 1
        self._mean = super().scores(train)["words"].mean()

    def scores(self, train):
        return {"above_mean": super().scores(train)["words"] - self._mean}


class Broken(WordCount):
    def scores(self, train):
        return {"broken": super().scores(train)["words"] / 0}


TITLES = {"words_squared": "Words squared", "words": "Words"}
WORST_LOSS = Signal(
    name="worst_loss",
    title="Worst loss",
    needs=("loss",),
    compute=lambda found: found.signals.loss.astype(np.float64).max(axis=0),
)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(SIGNALS, "worst_loss", WORST_LOSS)
    with (
        register_temporarily(WordCount, "words", "Word count", scores=TITLES),
        register_temporarily(
            Compared, "compared", "Compared", scores={"above_mean": "Words above the mean"}
        ),
        register_temporarily(Broken, "broken", "Broken", scores={"broken": "Broken"}),
    ):
        yield
    assert "words" not in list_methods()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("methods")
    engine, workspace = small_projects.open_workspace(root)
    project = small_projects.make_texts(engine, wrong=(3, 20))
    # It counts the words that this network reads; what others say of the labels is not asked.
    options = WorkOptions(epochs=4, model="word_embedding", folds=0)
    train_project(engine, workspace, project.slug, options)
    engine.dispose()
    return workspace


@pytest.fixture
def workspace(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRACIN_WORKSPACE", str(trained.root))
    return trained


@pytest.fixture
def scored(toys, engine, workspace):
    run = score_project(engine, workspace, "weather", WorkOptions(method="words"))
    return run, RunFolder(workspace.project_folder("weather") / run.folder)


def said(app: AppTest) -> str:
    parts = (app.markdown, app.caption, app.header)
    return "\n".join(str(item.value) for part in parts for item in part).replace("\\", "")


def test_its_scores_are_columns_and_its_name_stands_in_the_record(scored):
    run, folder = scored
    config = folder.read_config()
    assert (config.method, config.method_configuration) == ("words", {"power": 2})
    assert config.scores == ("words_squared", "words")
    assert (run.config["method"], run.config["method_configuration"]) == ("words", {"power": 2})
    train, test = (folder.read_all_signals(split) for split in ("train", "test"))
    assert list(train.scores) == ["words_squared", "words"]
    # Four words and a number, which is unknown to the encoder or not; the same at each checkpoint.
    assert (train.scores["words"] == 5).all()
    assert (train.scores["words_squared"] == 25).all()
    assert train.scores["words"].shape == train.loss.shape
    assert test.scores == {}
    assert list(folder.find_problems()) == []


def test_its_scores_and_a_new_signal_rank_the_queue(scored, engine):
    run, folder = scored
    always = {"mean_loss", "mean_margin", "test_opposition", "worst_loss"}
    assert set(run.signals) == {"words_squared", "words"} | always
    assert choose_default_signal(run.signals) == "words_squared"
    worst = folder.read_all_signals("train").loss.max(axis=0)
    found = fetch_page(engine, run.id, signal="worst_loss", page_size=3).rows
    assert [row.position for row in found] == np.argsort(-worst, kind="stable")[:3].tolist()
    assert found[0].score == pytest.approx(float(worst.max()))
    assert fetch_page(engine, run.id, signal="words", page_size=1).rows[0].score == 5


def test_the_command_line_offers_both(scored, workspace, capsys, monkeypatch):
    assert main(["queue", "weather", "--by", "worst_loss", "--top", "2"]) == 0
    assert "Worst loss, 60 ranked" in capsys.readouterr().out
    assert main(["queue", "weather", "--top", "2", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["signal"] == "words_squared"
    assert main(["queue", "weather", "--by", "self_influence"]) == 2
    assert "is not ranked by 'self_influence'" in capsys.readouterr().err
    # Loaded anew, as in a process of its own: its options list the methods there are by then.
    monkeypatch.delitem(sys.modules, "relabel.cli.work", raising=False)
    assert main(["score", "weather", "--help"]) == 0
    assert f"[{'|'.join(list_methods())}]" in "".join(capsys.readouterr().out.split())
    assert list(list_methods())[-3:] == ["words", "compared", "broken"]


def test_the_queue_and_the_example_are_shown_by_it(scored, open_app):
    app = open_app("queue", project="weather")
    assert not app.exception
    assert not app.error
    box = app.selectbox(key="signal")
    assert box.value == "words_squared"
    titles = {"Words squared", "Words", "Mean loss", "Mean negative margin", "Worst loss"}
    assert set(box.options) == titles | {"Opposition to the test examples"}
    box.set_value("worst_loss")
    app.run()
    assert not app.exception
    assert app.query_params["signal"] == "worst_loss"
    app = open_app("inspect", project="weather")
    assert not app.exception
    assert "Score at each checkpoint" in said(app)
    assert "score 25" in said(app)
    drawn = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    (course,) = [one for one in drawn if "Words" in {line.get("name") for line in one["data"]}]
    assert [line["name"] for line in course["data"]] == ["Words squared", "Words"]
    app = open_app("review", project="weather")
    assert not app.exception
    assert "by words squared" in app.expander[0].label


def test_a_test_example_without_scores_is_shown_all_the_same(scored, open_app, engine):
    with engine.connect() as connection:
        number = connection.exec_driver_sql(
            "SELECT id FROM example WHERE split = 'test' LIMIT 1"
        ).scalar()
    app = open_app("inspect", project="weather", example=str(number))
    assert not app.exception
    assert "scores train examples only" in said(app)


def relabel(engine, run: Run, position: int) -> None:
    rows = fetch_page(engine, run.id, signal="mean_loss", page_size=100).rows
    row = next(one for one in rows if one.position == position)
    record_decision(
        engine,
        NewDecision(
            example_id=row.example_id,
            expected_version=row.version,
            reviewer="ann",
            action="relabel",
            new_label=1 - row.given_label,
        ),
    )


def test_a_rescoring_stays_with_the_method_and_computes_what_has_changed(scored, engine, workspace):
    run, folder = scored
    relabel(engine, run, 7)
    rescored = rescore_project(engine, workspace, "weather")
    config = RunFolder(workspace.project_folder("weather") / rescored.run.folder).read_config()
    assert (config.method, config.method_configuration) == ("words", {"power": 2})
    assert rescored.examples_computed == 1
    assert config.scoring_hash == folder.read_config().scoring_hash


def test_a_method_that_looks_at_all_examples_is_computed_for_all_again(toys, engine, workspace):
    options = WorkOptions(method="compared")
    first = score_project(engine, workspace, "weather", options)
    assert Compared.fitted
    relabel(engine, first, 11)
    rescored = rescore_project(engine, workspace, "weather")
    assert rescored.run.config["num_computed"]["train"] == 60


def test_another_method_is_another_run(scored, engine, workspace):
    of_words, folder = scored
    plain = score_project(engine, workspace, "weather", WorkOptions())
    assert plain.key != of_words.key
    other = RunFolder(workspace.project_folder("weather") / plain.folder)
    assert other.read_config().scoring_hash != folder.read_config().scoring_hash
    assert "self_influence" in plain.signals
    assert choose_default_signal(plain.signals) == "self_influence"
    assert "words" not in plain.signals
    assert current_run(engine, get_project(engine, "weather").id).id == plain.id


def test_scores_that_are_no_numbers_are_refused(toys, engine, workspace):
    with pytest.raises(GradientError, match=r"scores 'broken' .* expected \d+ finite numbers"):
        score_project(engine, workspace, "weather", WorkOptions(method="broken"))


class Given(WordCount):
    """Scores of any form."""

    form = staticmethod(lambda counts: counts)

    def scores(self, train):
        return {"given": type(self).form(super().scores(train)["words"])}


class Passed(WordCount):
    """Scores of the capture pass, with its axes in the wrong order."""

    def read_capture(self, capture):
        return {"given": capture.losses.T}


FORMS = {
    "an array": (lambda counts: counts.numpy(), "expected a tensor of real numbers"),
    "complex": (lambda counts: counts * 1j, "expected a tensor of real numbers"),
    "too large": (lambda counts: counts.double() * 1e300, "within single precision"),
    "two axes": (lambda counts: counts[:, None], "expected 60 finite numbers"),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_that_cannot_be_stored_are_refused(form, engine, workspace, monkeypatch):
    make, message = FORMS[form]
    monkeypatch.setattr(Given, "form", staticmethod(make))
    with (
        register_temporarily(Given, "given", "Given", scores={"given": "Given"}),
        pytest.raises(GradientError, match=message),
    ):
        score_project(engine, workspace, "weather", WorkOptions(method="given"))


def test_scores_of_a_pass_are_looked_at_as_all_others(engine, workspace):
    with (
        register_temporarily(Passed, "passed", "Passed", scores={"given": "Given"}),
        pytest.raises(GradientError, match=r"shape \(60, 4\); expected 4 x 60 finite"),
    ):
        score_project(engine, workspace, "weather", WorkOptions(method="passed"))


def test_a_score_that_is_not_registered_is_not_lost_in_silence(engine, workspace):
    with (
        register_temporarily(Given, "given", "Given", scores={"other": "Other"}),
        pytest.raises(GradientError, match="'given', which it did not register; expected other"),
    ):
        score_project(engine, workspace, "weather", WorkOptions(method="given"))


@pytest.mark.parametrize("name", ["mean_loss", "self_influence", "loss", "position"])
def test_a_score_with_the_name_of_another_number_is_refused(name, engine, workspace):
    with (
        register_temporarily(WordCount, "taken", "Taken", scores={name: "Taken"}),
        pytest.raises(ConfigurationError, match=f"calls a score '{name}'"),
    ):
        score_project(engine, workspace, "weather", WorkOptions(method="taken"))


@pytest.mark.parametrize("score", ["", "a b", "a\0b", "ü", "x" * 65])
def test_a_score_has_the_name_of_a_column(score):
    with pytest.raises(ConfigurationError, match="letters, digits and underscores"):
        register_attributor("any", "Any", scores={score: "Any"})
    assert "any" not in list_methods()


def test_a_configuration_that_cannot_be_recorded_is_refused(engine, workspace, monkeypatch):
    monkeypatch.setattr(WordCount, "__init__", lambda self, setup: None)
    monkeypatch.setattr(WordCount, "configuration", {"place": Given}, raising=False)
    with (
        register_temporarily(WordCount, "given", "Given", scores=TITLES),
        pytest.raises(ConfigurationError, match="'given' is no JSON"),
    ):
        score_project(engine, workspace, "weather", WorkOptions(method="given"))


def test_a_method_that_learns_from_all_is_computed_for_all_whatever_it_says(
    toys, engine, workspace, monkeypatch
):
    monkeypatch.setattr(Compared, "needs", frozenset())
    first = score_project(engine, workspace, "weather", WorkOptions(method="compared"))
    relabel(engine, first, 13)
    rescored = rescore_project(engine, workspace, "weather")
    assert rescored.run.config["num_computed"]["train"] == 60


def test_an_unknown_method_and_a_name_that_is_taken_are_refused():
    with pytest.raises(ConfigurationError, match=r"called 'none'.*one of: tracincp"):
        WorkOptions(method="none")
    with pytest.raises(ConfigurationError, match="'tracincp' already"):
        register_attributor("tracincp", "Another", scores={})(WordCount)
    assert get_method("tracincp").make is TracInCP


def test_a_score_without_a_signal_is_a_signal(toys):
    signals = list_signals()
    assert signals["words"].title == "Words"
    # Those of methods stand first, in the order of the methods.
    places = [list(signals).index(name) for name in ("words_squared", "words", "suspicion")]
    assert places == sorted(places)
    method: type[Attributor] = WordCount
    assert get_method("words").make is method
