"""Compare, for a project of a few dozen texts that is scored and then compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import streamlit as st

from relabel.comparison.measure import compare_methods
from relabel.comparison.options import CompareOptions
from relabel.db.jobs import create_job
from relabel.importers.ingest.truth import write_truth
from relabel.scoring.project import score_project, train_project
from tests.relabel.scoring.small_projects import QUICK, make_texts, open_workspace


@pytest.fixture
def opened(open_app, tmp_path, monkeypatch):
    """A scored project of the test's own, and what opens its Compare."""
    engine, workspace = open_workspace(tmp_path / "small")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(workspace.root))
    st.cache_resource.clear()
    make_texts(engine, wrong=(4, 9))
    train_project(engine, workspace, "weather", QUICK)
    score_project(engine, workspace, "weather", replace(QUICK, layers="last"))
    yield engine, workspace, lambda **params: open_app("compare", project="weather", **params)
    engine.dispose()


def list_headers(app) -> list[str]:
    return [one.value for one in app.header]


def test_what_is_known_is_drawn_and_what_is_not_is_told(opened):
    engine, workspace, go = opened
    app = go()
    assert not app.exception
    assert app.button(key="compare-start").label == "Compare"
    options = CompareOptions(methods=("last_checkpoint", "tracincp", "tracin_adam"), examples=2)
    compared = compare_methods(engine, workspace, "weather", options)
    create_job(engine, "weather", "score")
    app = go()
    assert not app.exception
    # Without a known truth.
    assert any("is not known" in one.value for one in app.info)
    assert "What each checkpoint finds" not in list_headers(app)
    assert "Which name the same proponents" in list_headers(app)
    assert app.button(key="compare-start").disabled
    assert any("optimizer" in one.value for one in app.caption)
    assert len(app.selectbox[-1].options) == 2
    write_truth(
        workspace.truth_path("weather"), [f"train-{n}" for n in range(60)], np.arange(60) % 2
    )
    compare_methods(engine, workspace, "weather", options)
    app = go(example="1")
    assert not app.exception
    assert "What each checkpoint finds" in list_headers(app)
    assert app.button(key="explain-1").disabled  # the project is busy
    named = {one.title for one in compared.outcomes if one.sides}
    assert len(named) == 2
