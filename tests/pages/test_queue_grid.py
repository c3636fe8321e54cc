"""The queue as a screen to decide many at once: what it is handed, may send, and leads to."""

from __future__ import annotations

import json

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from relabel.cli import main
from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.groups import count_left, list_pairs
from relabel.db.projects import get_project
from relabel.db.queue import QueueFilter, fetch_page
from relabel.db.runs import current_run
from relabel.db.stats import count_reviewed, measure_test
from tests.pages.review_screen import find_given
from ui.review.routes import REVIEW_ROUTES
from ui.server.guard import Guard

FIRST, SECOND = "token-of-a-batch-1", "token-of-a-batch-2"


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=REVIEW_ROUTES, middleware=[Middleware(Guard)])
    return TestClient(app, base_url="http://localhost")


@pytest.fixture
def digits(engine):
    project = get_project(engine, "digits")
    return project, current_run(engine, project.id)


@pytest.fixture
def screen(open_app):
    app = open_app("queue", project="digits")
    assert not app.exception
    return find_given(app, "tracin_grid")


def ask(screen, token, ids=(), action="keep", **more):
    cards = {card["id"]: card for card in screen["cards"]}
    items = [
        {name: cards[one][name] for name in ("id", "version", "rank", "score")}
        | {"newLabel": cards[one]["other"]}
        for one in ids
    ]
    named = {name: screen[name] for name in ("project", "mark", "query", "reviewer")}
    return named | {"token": token, "action": action, "items": items, "shown": list(cards)} | more


def post(client, body, path="/batches"):
    answer = client.post(path, json=body)
    return answer.status_code, answer.json() if answer.status_code == 200 else answer.text


def states(answer):
    return {one["id"]: [tag["text"] for tag in one["states"]] for one in answer["cards"]}


def test_a_screen_decides_about_what_it_shows_and_takes_it_back(client, screen, engine, digits):
    chosen = [card["id"] for card in screen["cards"][:3]]
    body = ask(screen, FIRST, chosen, "relabel", suggested=True)
    status, answer = post(client, body)
    assert status == 200, answer
    names = digits[0].classes
    expected = {card["id"]: [f"Relabelled {names[card['other']]}"] for card in screen["cards"][:3]}
    assert {one: states(answer)[one] for one in chosen} == expected
    assert (answer["recorded"], answer["left"]) == (3, screen["left"] - 3)
    assert answer["message"] == "Recorded: 3 examples relabelled."
    assert post(client, body)[1]["recorded"] == 3  # sent again
    status, back = post(client, ask(screen, SECOND) | {"undoes": FIRST}, "/batches/undo")
    assert (back["recorded"], back["left"]) == (3, screen["left"])
    assert [states(back)[one] for one in chosen] == [[], [], []]
    actions = [row.action for row in fetch_history(engine, digits[0].id).rows]
    assert actions == ["undo"] * 3 + ["relabel"] * 3


def test_somebody_else_was_faster_with_one_of_them(client, screen, engine):
    chosen = [card["id"] for card in screen["cards"][:2]]
    record_decision(engine, NewDecision(chosen[1], 0, "bob", "exclude"))
    _, answer = post(client, ask(screen, FIRST, chosen))
    assert (answer["recorded"], answer["refused"]) == (1, [chosen[1]])
    assert "Not recorded for 1 example: Meanwhile bob excluded it" in answer["message"]
    assert states(answer)[chosen[1]] == ["Excluded"]


def test_all_of_a_filter_are_decided_at_once(client, open_app, engine, digits):
    _, run = digits
    pair = list_pairs(engine, run, "train", suggested=True)[0]
    names = digits[0].classes
    app = open_app(
        "queue", project="digits", given=names[pair.given], suggested=names[pair.suggested]
    )
    screen = find_given(app, "tracin_grid")
    assert screen["passing"] == screen["left"] == pair.left
    _, answer = post(client, ask(screen, FIRST, action="relabel", suggested=True, all=True))
    assert (answer["recorded"], answer["left"], answer["total"]) == (pair.total, 0, pair.total)
    app.run()
    assert "nothing is left to review" in app.success[0].value
    following = list_pairs(engine, run, "train", suggested=True)[0]
    app.button(key=f"next-{following.given}-{following.suggested}").click().run()
    assert not app.exception
    assert find_given(app, "tracin_grid")["passing"] == following.left


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "undo"}, "none for many"),
        ({"action": 3}, "Expected a text"),
        ({"mark": "0" * 24}, "another project"),
        ({"query": {}}, "is gone"),
        ({"items": [{"id": "1"}]}, "Expected a whole number"),
        ({"items": []}, "No example is selected"),
        ({"items": "all"}, "list of objects"),
        ({"token": "short"}, "16 to 64 letters"),
        ({"action": "relabel", "newLabel": 99}, "class index"),
        ({"shown": ["x"]}, "Expected a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(client, screen, change, words):
    chosen = [card["id"] for card in screen["cards"][:1]]
    status, told = post(client, ask(screen, FIRST, chosen) | change)
    assert status == 422
    assert words in told


def test_nothing_of_an_undo_without_its_batch(client, screen):
    status, told = post(client, ask(screen, SECOND) | {"undoes": FIRST}, "/batches/undo")
    assert (status, "made together" in told) == (422, True)


def test_the_state_is_to_review_unless_another_one_is_chosen(open_app, engine, screen):
    chosen = screen["cards"][0]["id"]
    record_decision(engine, NewDecision(chosen, 0, "ann", "keep"))
    shown = find_given(open_app("queue", project="digits"), "tracin_grid")
    assert chosen not in [card["id"] for card in shown["cards"]]
    assert shown["left"] == shown["total"] - 1
    everything = find_given(open_app("queue", project="digits", status="any"), "tracin_grid")
    assert everything["cards"][0]["id"] == chosen
    assert everything["cards"][0]["decided"]


def test_next_goes_on_in_the_queue_that_one_came_from(open_app, engine, digits):
    _, run = digits
    rows = fetch_page(engine, run.id, filter=QueueFilter(given_labels=(3,))).rows
    names = digits[0].classes
    within = f"given={names[3]}&status=pending"
    asked = {"project": "digits", "example": str(rows[0].example_id)}
    app = open_app("inspect", **asked, within=within)
    assert not app.exception
    assert any("In the queue you came from: " in one.value for one in app.caption)
    app.button(key="next").click().run()
    assert app.query_params["example"] == str(rows[1].example_id)
    assert app.query_params["within"] == within
    assert not any("you came from" in one.value for one in open_app("inspect", **asked).caption)


def test_test_labels_are_reviewed_in_a_queue_of_their_own(
    client, open_app, open_review, engine, digits, capsys
):
    project, run = digits
    of_test = QueueFilter(split="test")
    left, total = count_left(engine, run.id, signal="suspicion", filter=of_test)
    assert left == total == run.num_test_ranked > 0
    app = open_app("queue", project="digits", split="test")
    assert not app.exception
    assert app.selectbox(key="split").value == "test"
    screen = find_given(app, "tracin_grid")
    assert (screen["left"], screen["total"]) == (left, total)
    first = fetch_page(engine, run.id, signal="suspicion", filter=of_test).rows[0]
    assert screen["cards"][0]["id"] == first.example_id
    assert main(["queue", "digits", "--split", "test", "--top", "1", "--format", "json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["suspects"]
    assert listed["key"] == first.key
    review = open_review(project="digits", split="test")
    assert review.sheet["id"] == first.example_id
    assert review.sheet["alt"].startswith("Test example")
    before = measure_test(engine, run.id)
    _, answer = post(client, ask(screen, FIRST, [first.example_id], "exclude"))
    assert (answer["recorded"], answer["left"]) == (1, total - 1)
    after = measure_test(engine, run.id)
    assert (after.reviewed, after.corrected, after.by_given) == (1, 1, before.by_given)
    overview = open_app("overview", project="digits")
    told = " ".join(one.value for one in overview.caption).replace("\\", "")
    assert f"1 of {total} test examples reviewed, 1 corrected or excluded" in told
    assert count_reviewed(engine, project.id)[0] == 0


def test_the_history_takes_back_what_was_decided_together(client, open_app, engine, screen):
    chosen = [card["id"] for card in screen["cards"][:4]]
    post(client, ask(screen, FIRST, chosen, "relabel", newLabel=screen["cards"][0]["other"]))
    app = open_app("history", project="digits")
    assert "Decided together (1)" in [one.label for one in app.expander]
    app.button(key=f"undo-batch-{FIRST}").click().run()
    assert not app.exception
    told = [one.value.replace("\\", "") for one in app.info]
    assert any("Taken back: 4 decisions" in one for one in told), told
    assert "Decided together (1)" not in [one.label for one in app.expander]
