"""Pages of a regression on a table: rows, numbers, a map, a number for a correction."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from relabel.db.decisions.history import fetch_history
from relabel.db.examples import get_example
from relabel.db.projects import get_project
from relabel.db.queue import next_suspect
from relabel.db.runs import current_run
from relabel.db.schema import ExampleRow
from relabel.export import export_labels
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import open_of_run
from relabel.text import format_number
from relabel.workspace import Workspace, resolve_workspace
from tests.conftest import copy_workspace
from ui.queue.map import find_coordinates


@pytest.fixture
def workspace(built_houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    root = copy_workspace(built_houses, tmp_path / "workspace")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(root))
    return resolve_workspace()


@pytest.fixture
def suspect(engine):
    project = get_project(engine, "houses")
    run = current_run(engine, project.id)
    return get_example(engine, next_suspect(engine, run.id).example_id, run.id)


@pytest.mark.parametrize("page", ["overview", "queue", "inspect", "review", "history"])
def test_every_page_opens(open_app, page):
    app = open_app(page, project="houses")
    assert not app.exception
    assert not app.error


def test_the_overview_says_the_error_in_the_numbers_own_unit(open_app):
    app = open_app("overview", project="houses")
    labels = [metric.label for metric in app.metric]
    assert {"Typical test error", "Test RMSE"} <= {*labels}
    assert "Classes" not in labels


def test_the_map_shows_where_the_suspects_lie(open_app, engine):
    columns = find_coordinates(get_project(engine, "houses"))
    assert columns is not None
    assert (columns.longitude, columns.latitude) == ("longitude", "latitude")
    app = open_app("queue", project="houses", form="map")
    assert not app.exception
    assert any("most suspect of 320 rows" in caption.value for caption in app.caption)


def test_a_typed_number_corrects_the_target(open_review, engine, workspace, suspect):
    outcome = open_review(project="houses").type_number("123,456.5")
    assert "changed to 123,456" in outcome["message"]
    event = fetch_history(engine, suspect.project_id).rows[0]
    assert (event.action, event.new_value) == ("relabel", 123456.5)
    assert get_example(engine, suspect.id, None).current_value == 123456.5
    exported = export_labels(engine, suspect.project_id, format="csv").decode()
    assert "123456.5" in exported


def test_what_is_no_number_is_refused_in_words(open_review, engine, suspect):
    screen = open_review(project="houses")
    assert "“much” is no number" in screen.type_number("much")["message"]
    assert screen.sheet["id"] == suspect.id
    assert not fetch_history(engine, suspect.project_id).rows


def test_the_given_number_typed_again_keeps_it(open_review, engine, suspect):
    open_review(project="houses").type_number(repr(suspect.given_value))
    assert fetch_history(engine, suspect.project_id).rows[0].action == "keep"


def test_the_suggested_number_can_be_taken(open_review, engine, workspace, suspect):
    run = current_run(engine, suspect.project_id)
    held_out = open_of_run(RunFolder(workspace.project_folder("houses") / run.folder))
    open_review(project="houses").press("model")
    event = fetch_history(engine, suspect.project_id).rows[0]
    assert event.new_value == held_out.value(suspect.position) != suspect.predicted_value


def test_a_slipped_decimal_point_is_offered_moved(open_review, engine, suspect):
    said = open_review(project="houses").choices["model"]["newValue"]
    with engine.begin() as connection:
        slipped = update(ExampleRow).where(ExampleRow.id == suspect.id)
        connection.execute(slipped.values(given_value=10 * said))
    screen = open_review(project="houses")
    assert screen.choices["slip"]["label"].endswith("(÷10)")
    screen.press("slip")
    event = fetch_history(engine, suspect.project_id).rows[0]
    assert (event.action, event.new_value) == ("relabel", pytest.approx(said))


def test_the_queue_and_the_review_take_the_span_of_a_bar(open_app, open_review, engine, suspect):
    beyond = {"from": repr(suspect.given_value), "to": repr(suspect.given_value)}
    app = open_app("queue", project="houses", **beyond)
    assert not app.exception
    assert [one.value for one in app.number_input] == [suspect.given_value] * 2
    screen = open_review(project="houses", **beyond)
    assert screen.sheet["givenValue"] == format_number(suspect.given_value)
    assert screen.given["query"]["from"] == suspect.given_value


def test_a_new_row_is_predicted_and_explained(open_app):
    app = open_app("inspect", project="houses", show="new")
    [form] = [button for button in app.button if button.key == "explain-row"]
    form.click().run()
    assert not app.exception
    assert any("predicted" in badge.value for badge in app.markdown)


def test_a_new_row_with_words_for_a_number_is_refused(open_app, engine):
    project = get_project(engine, "houses")
    app = open_app("inspect", project="houses", show="new")
    app.text_input(key=f"new-row-{project.id}-rooms").set_value("many")
    app.button(key="explain-row").click().run()
    assert not app.exception
    assert "rooms" in app.error[0].value
