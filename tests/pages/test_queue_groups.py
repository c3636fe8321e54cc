"""Groups of alike examples on the queue: told, opened, carried by the address, and used up."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from relabel.db.engine import writing
from relabel.db.groups import list_groups
from relabel.db.projects import get_project
from relabel.db.queue import QueueFilter, fetch_page
from relabel.db.runs import current_run, read_group_counts
from relabel.db.schema import RunRow
from relabel.runs.groups import GroupName
from tests.pages.review_screen import find_given
from tests.pages.test_queue_grid import FIRST, ask, client, post
from ui.queue.filters import filter_to_json, read_filter, recall_view

__all__ = ["client"]  # a fixture


@pytest.fixture
def docs(engine):
    project = get_project(engine, "docs")
    return project, current_run(engine, project.id)


def words(app):
    parts = (app.caption, app.text, app.warning, app.info, app.success)
    return "\n".join(str(one.value).replace("\\", "") for part in parts for one in part)


def test_the_kinds_of_groups_are_read_when_they_are_opened(open_app, engine, docs):
    closed = open_app("queue", project="docs")
    assert not closed.exception
    assert "tracin_cards" not in [one.proto.component_name for one in closed.get("bidi_component")]
    app = open_app("queue", project="docs", groups="near")
    assert not app.exception
    groups = list_groups(engine, docs[1], "train", "near")
    assert f"{len(groups):,} of {len(groups):,} groups left" in words(app)
    assert "cosine of their words" in words(app)
    cards = find_given(app, "tracin_cards")["cards"]
    assert len(cards) == 12
    first = next(one for one in groups if one.name.number == cards[0]["id"])
    assert first.differs, "those with different labels come first"
    named = {docs[0].classes[label]: count for label, count in first.labels[:3]}
    assert [tag["text"] for tag in cards[0]["tags"]][:2] == [
        f"{name}: {count}" for name, count in list(named.items())[:2]
    ]
    assert f"{first.left} of {first.total} left" in cards[0]["meta"]


def test_the_address_of_a_group_shows_its_examples_alone_and_leads_out_again(
    open_app, engine, docs
):
    wanted = QueueFilter(group=GroupName("near", 1))
    expected = [row.example_id for row in fetch_page(engine, docs[1].id, filter=wanted).rows]
    app = open_app("queue", project="docs", group="near-1")
    assert not app.exception
    screen = find_given(app, "tracin_grid")
    assert [card["id"] for card in screen["cards"]] == expected
    assert screen["query"]["group"] == "near-1"
    app.selectbox(key="group").set_value("").run()
    assert not app.exception
    assert len(find_given(app, "tracin_grid")["cards"]) == 50
    assert "group" not in app.query_params


def test_a_group_is_decided_as_one_and_the_next_one_is_offered(open_app, client, docs):
    app = open_app("queue", project="docs", group="near-1")
    screen = find_given(app, "tracin_grid")
    status, answer = post(client, ask(screen, FIRST, all=True))
    assert status == 200, answer
    assert (answer["recorded"], answer["left"]) == (len(screen["cards"]), 0)
    app.run()
    assert not app.exception
    assert "Done: nothing is left to review" in words(app)
    (button,) = [one for one in app.button if one.key == "next-group"]
    assert button.label.replace("\\", "").startswith("Next: Nearly the same, no. ")
    app.button(key="show-all").click().run()
    assert not app.exception
    assert "group" not in app.query_params
    assert len(find_given(app, "tracin_grid")["cards"]) == 50


def test_another_project_begins_without_the_group(open_app):
    app = open_app("queue", project="docs", group="near-1")
    app.selectbox(key="project").set_value("digits").run()
    assert not app.exception
    assert "group" not in app.query_params
    assert find_given(app, "tracin_grid")["query"]["group"] == ""


def test_a_group_that_the_run_lacks_is_said_and_an_older_run_says_where_to_score(
    open_app, engine, docs
):
    app = open_app("queue", project="docs", group="near-999999")
    assert not app.exception
    assert "This run has no group" in words(app)
    assert len(find_given(app, "tracin_grid")["cards"]) == 50
    run = docs[1]
    assert read_group_counts(run.config)
    older = {name: value for name, value in run.config.items() if name not in ("groups", "alike")}
    with writing(engine) as connection:
        connection.execute(update(RunRow).where(RunRow.id == run.id).values(config=older))
    app = open_app("queue", project="docs", groups="near", group="near-1")
    assert not app.exception
    assert words(app).count("Score again on Runs") == 2


@pytest.mark.parametrize("group", [None, GroupName("cluster", 3)])
def test_a_group_goes_with_questions_and_with_next(docs, group):
    filter = QueueFilter(group=group, status="any")
    assert read_filter(filter_to_json(filter)) == filter
    assert read_filter(filter_to_json(filter) | {"group": "far-1"}) is None
    assert read_filter(filter_to_json(filter) | {"group": 7}) is None
    word = "status=any" + ("" if group is None else f"&group={group}")
    recalled = recall_view(*docs, word)
    assert recalled is not None
    assert recalled.filter == filter


def test_next_on_inspect_stays_in_the_group(open_app, engine, docs):
    wanted = QueueFilter(group=GroupName("near", 1))
    ids = [row.example_id for row in fetch_page(engine, docs[1].id, filter=wanted).rows]
    word = "group=near-1&status=any"
    app = open_app("inspect", project="docs", example=str(ids[0]), within=word)
    assert not app.exception
    assert f"{len(ids)} of {len(ids)} left" in words(app)
    app.button(key="next").click().run()
    assert app.query_params["example"] in (str(ids[1]), [str(ids[1])])
