"""A built-in network that is added stands on the page."""

from __future__ import annotations

import pytest

from relabel.db.projects import create_project
from relabel.workspace import Workspace
from tests.relabel.models.toy_network import NAME, TITLE, toy_network_added


@pytest.fixture
def workspace(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty one: no demo has to be built to look at a form."""
    monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
    monkeypatch.delenv("TRACIN_DATABASE_URL", raising=False)
    return place


def test_a_network_of_one_file_is_offered_with_its_words(open_app, engine, tmp_path):
    create_project(engine, slug="texts", title="texts", kind="text", classes=["a", "b"])
    with toy_network_added(tmp_path):
        app = open_app("runs", project="texts")
        assert not app.exception
        choice = app.selectbox(key="train-model")
        assert TITLE in choice.options
        app = choice.set_value(NAME).run()
        assert not app.exception
        assert "Sees how often each word is there." in [item.value for item in app.caption]
        assert app.number_input(key=f"train-{NAME}-rate").value == 0.125
        assert "train-weights" not in [field.key for field in app.text_input]


def test_a_network_on_features_asks_whose_they_are(open_app, engine):
    create_project(engine, slug="pictures", title="pictures", kind="image", classes=["a", "b"])
    app = open_app("runs", project="pictures")
    # The choice by the data may fall on a network that takes them.
    assert app.text_input(key="train-features").placeholder == "auto"
    app = app.selectbox(key="train-model").set_value("small_cnn").run()
    assert "train-features" not in [field.key for field in app.text_input]
    app = app.selectbox(key="train-model").set_value("linear_head").run()
    assert not app.exception
    assert app.text_input(key="train-features").placeholder == "auto"
    assert app.text_input(key="train-weights").label == "Weights of the backbone"
    assert app.checkbox(key="train-download").value is False
    assert app.number_input(key="train-linear_head-batch").value == 128
