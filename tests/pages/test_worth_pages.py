"""The gain and the report on History, for a project of a few dozen texts."""

from __future__ import annotations

import pytest
import streamlit as st

from relabel.db.jobs import create_job
from relabel.worth.gain.measure import measure_gain
from relabel.worth.gain.options import GainOptions
from relabel.worth.gain.words import describe_headline
from tests.relabel.scoring.small_projects import make_texts, open_workspace
from tests.relabel.worth.gain.small import correct_texts, decide

WRONG = tuple(range(0, 60, 5))


@pytest.fixture
def opened(open_app, tmp_path, monkeypatch):
    """A workspace of the test's own, and what opens its History."""
    engine, workspace = open_workspace(tmp_path / "small")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(workspace.root))
    st.cache_resource.clear()
    yield engine, workspace, lambda: open_app("history", project="weather")
    engine.dispose()


def texts(app) -> str:
    elements = [*app.info, *app.success, *app.warning, *app.caption, *app.markdown]
    return " ".join(str(one.value) for one in elements)


def test_it_says_why_there_is_nothing_to_measure(opened):
    engine, _, go = opened
    project = make_texts(engine, wrong=WRONG, test=0)
    app = go()
    assert not app.exception
    assert "no test examples" in texts(app)
    decide(engine, project, 0, "keep")
    assert "no test examples" in texts(go())
    assert not [one for one in app.button if one.key == "measure-gain"]


def test_without_a_decision_it_says_so_and_with_one_it_can_be_measured(opened):
    engine, _, go = opened
    project = make_texts(engine, wrong=WRONG)
    assert "no train example has been decided" in texts(go())
    decide(engine, project, 0, "keep")
    app = go()
    assert not app.exception
    assert app.button(key="measure-gain").label == "Measure the gain"
    create_job(engine, "weather", "score")
    assert go().button(key="measure-gain").disabled


def test_a_gain_is_told_with_its_age_and_its_classes(opened):
    engine, workspace, go = opened
    project = make_texts(engine, wrong=WRONG)
    correct_texts(engine, project, WRONG[:8])
    gain = measure_gain(engine, workspace, "weather", GainOptions(seeds=3))
    app = go()
    assert not app.exception
    assert describe_headline(gain) in texts(app).replace("\\", "")
    assert "come since" not in texts(app)
    assert "only 20 test examples" in texts(app)
    frame = next(one.value for one in app.dataframe if "Right, as given" in one.value)
    assert frame["Class"].tolist() == ["sun", "rain"]
    correct_texts(engine, project, WRONG[8:9])
    assert "1 decision has come since" in texts(go())
