"""What train examples are worth, who opposes many, and the recurring ones that lists leave out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relabel.db.examples import find_by_positions
from relabel.db.projects import get_project
from relabel.db.queue import draw_next_suspects
from relabel.db.runs import current_run
from relabel.runs.folder import RunFolder
from relabel.workspace import resolve_workspace
from ui.inspect.evidence import find_evidence
from ui.inspect.recurring import find_recurring_examples, list_hidden


def texts(app) -> str:
    return " ".join(str(one.value) for one in [*app.info, *app.caption, *app.markdown])


def test_the_page_lists_who_harms_opposes_and_recurs_with_ways_on(open_app, engine):
    app = open_app("value", project="digits", by="correctness")
    assert not app.exception
    assert "that are predicted otherwise" in texts(app)
    harmful, opponents, recurring = (one.value for one in app.dataframe)
    assert harmful["Total"].is_monotonic_increasing
    assert (harmful["Total"] < 0).all()
    assert opponents["Opposes"].is_monotonic_decreasing
    number = int(harmful["Inspect"][0].rpartition("=")[2])
    assert harmful["Review"][0] == f"review?project=digits&example={number}"
    assert harmful["Queue"][0].startswith("queue?project=digits&page=")
    assert len(app.get("download_button")) == 1
    before = opponents["Opposes"][0]
    app.toggle(key="hide-recurring").set_value(True).run()
    assert f"{len(recurring)} recurring examples hidden" in texts(app)
    assert app.dataframe[1].value["Opposes"][0] < before


def test_it_says_what_is_missing_and_the_way_out(open_app, monkeypatch):
    app = open_app("value", project="docs", explained="score")
    assert not app.exception
    assert "gradients of the predictions have not been computed" in texts(app)
    assert app.button(key="compute-scores").label == "Compute them"
    read = RunFolder.read_config
    monkeypatch.setattr(
        RunFolder,
        "read_config",
        lambda folder: replace(read(folder), counts=read(folder).counts | {"test": 0}),
    )
    app.run()
    assert not app.exception
    assert "has scored no test examples" in texts(app)
    assert app.button(key="to-import").label == "Import data"


@pytest.fixture
def digits(open_app, engine):
    project = get_project(engine, "digits")
    run = current_run(engine, project.id)
    assert run is not None
    return project, run


def test_hidden_examples_make_room_in_the_evidence_and_are_counted(digits, engine):
    project, run = digits
    layers = (
        RunFolder(resolve_workspace().project_folder("digits") / run.folder)
        .read_config()
        .scored_layers[0]
    )
    views = [one.view for one in draw_next_suspects(engine, run.id, signal="suspicion", count=30)]
    options = {"layers": layers, "measure": "influence", "count": 6}
    hidden = list_hidden(project, run, layers, "influence", hides=True)
    found = find_recurring_examples(project, run, layers, "influence")
    assert hidden == {one.position for one in found}
    assert not list_hidden(project, run, layers, "influence", hides=False)
    ids = {one.id for one in find_by_positions(engine, project.id, run.id, "train", hidden)}
    every = find_evidence(project, run, views, **options)
    without = find_evidence(project, run, views, hidden=hidden, **options)
    num_hidden = 0
    for one, other in zip(every, without, strict=True):
        assert one.suggestion == other.suggestion
        assert not any(one.num_hidden.values())
        assert len(other.proponents) == len(other.opponents) == 6
        assert not ids & {card.id for card in [*other.proponents, *other.opponents]}
        shown = sum(card.id in ids for card in [*one.proponents, *one.opponents])
        assert sum(other.num_hidden.values()) >= shown
        num_hidden += shown
    assert num_hidden
