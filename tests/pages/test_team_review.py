"""Two people on one queue: a name asked once, leases over HTTP, a blind second opinion."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.team.opinions import list_pairs
from relabel.db.team.reviewers import Identity, list_reviewers
from relabel.db.team.second_looks import set_share
from relabel.workspace import REPOSITORY_ROOT
from tests.pages.review_screen import ReviewScreen, find_given
from ui.review.routes import REVIEW_ROUTES
from ui.server.guard import Guard

TOKENS = [f"token-of-the-team-{number}" for number in range(4)]


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=REVIEW_ROUTES, middleware=[Middleware(Guard)])
    return TestClient(app, base_url="http://localhost")


def ask(given, who, **more):
    kept = {name: given[name] for name in ("project", "query")}
    return kept | {"reviewer": who, "screen": f"tab-of-{who}"} | more


def press(given, sheet, who, token, action, **more):
    about = {name: sheet[name] for name in ("version", "mark", "rank", "score", "run", "look")}
    one = {"token": token, "example": sheet["id"], "action": action, "reviewer": who, **about}
    return ask(given, who, presses=[one | more])


def test_a_name_is_asked_for_once_and_none_is_taken_from_the_account(open_app, monkeypatch, engine):
    monkeypatch.setenv("TRACIN_REVIEWER", "")
    app = open_app("review", project="digits")
    assert not app.exception
    assert app.text_input(key="reviewer").value == ""
    assert app.get("bidi_component") == [] or not _has_review(app)
    app.text_input(key="asked-reviewer").input(" ")
    app.button(key="begin").click().run()
    assert "name is empty" in app.error[0].value
    app.text_input(key="asked-reviewer").input("Ann  Lee")
    app.button(key="begin").click().run()
    assert app.text_input(key="reviewer").value == "Ann  Lee"
    screen = ReviewScreen(app)
    assert screen.press("keep")["recorded"]
    assert [(one.name, one.identity_source) for one in list_reviewers(engine)] == [
        ("Ann  Lee", "typed")
    ]
    for page in ("history", "review"):
        app.switch_page(str(REPOSITORY_ROOT / "pages" / f"{page}.py")).run()
    assert _has_review(app)


def _has_review(app) -> bool:
    try:
        find_given(app)
    except ValueError:
        return False
    return True


def test_a_press_without_a_name_is_not_recorded(client, open_review, monkeypatch):
    screen = open_review(project="digits")
    monkeypatch.setenv("TRACIN_REVIEWER", "")
    sent = press(screen.given, screen.sheet, "", TOKENS[0], "keep")
    (outcome,) = client.post("/decisions", json=sent).json()["outcomes"]
    assert not outcome["recorded"]
    assert "name is empty" in outcome["message"]


def test_leases_keep_two_people_apart_and_are_given_back(client, open_review):
    given = open_review(project="digits").given
    asked = [
        client.post("/suspects", json=ask(given, who, count=4)).json() for who in ("Ann", "Bob")
    ]
    ann, bob = ([one["id"] for one in answer["suspects"]] for answer in asked)
    assert len({*ann, *bob}) == 8
    told = client.post("/leases", json=ask(given, "Bob", renew=[*ann[:1], *bob])).json()
    assert told == {"lost": ann[:1]}
    client.post("/leases", json=ask(given, "Ann", release=ann))
    again = client.post("/suspects", json=ask(given, "Bob", count=4, held=bob)).json()
    assert [one["id"] for one in again["suspects"]] == ann
    for wrong in ({"renew": "x"}, {"release": [True]}, {"screen": 3}, {"reviewer": []}):
        assert client.post("/leases", json=ask(given, "Bob") | wrong).status_code == 422


def test_what_others_hold_is_said_where_nothing_is_left(client, open_review, engine):
    given = open_review(project="digits").given
    query = given["query"] | {"text": "no such text"}
    answer = client.post("/suspects", json=ask(given, "Ann", count=3) | {"query": query}).json()
    assert (answer["suspects"], answer["withOthers"]) == ([], 0)
    (row,) = fetch_page(engine, given["query"]["run"], page_size=1).rows
    given_labels = given["query"] | {
        "given": [row.given_label],
        "predicted": [row.predicted_label],
    }
    mine, others = (
        client.post("/suspects", json=ask(given, who, count=12) | {"query": given_labels}).json()
        for who in ("Ann", "Bob")
    )
    assert others["suspects"] == []
    # One of them lies on the page that was opened first.
    assert others["withOthers"] >= len(mine["suspects"]) > 0


def test_a_second_opinion_is_blind_and_can_be_taken_back(client, open_review, engine):
    project = get_project(engine, "digits")
    set_share(engine, project.id, 1.0, by=Identity("Ann"))
    given = open_review(project="digits").given
    (sheet, *_) = client.post("/suspects", json=ask(given, "Ann", count=1)).json()["suspects"]
    sent = press(given, sheet, "Ann", TOKENS[0], "exclude", note="Ann's secret")
    assert client.post("/decisions", json=sent).json()["outcomes"][0]["recorded"]
    found = client.post("/suspects", json=ask(given, "Bob", count=3)).json()["suspects"]
    (look,) = [one for one in found if one["look"] is not None]
    assert look["id"] == sheet["id"]
    assert (look["badges"], look["isReviewed"]) == (sheet["badges"], False)
    told = str({name: value for name, value in look.items() if name != "look"})
    assert "Ann" not in told
    assert "xcluded" not in told.replace("excluded'", "").replace(" excluded", "")
    # The same by an address that names it, and nothing of it for whoever was first.
    (asked,) = client.post("/suspects", json=ask(given, "Bob", ids=[look["id"]])).json()["asked"]
    assert asked["look"] == look["look"]
    sent = press(given, look, "Bob", TOKENS[1], "keep", note="fine")
    for _ in range(2):
        (outcome,) = client.post("/decisions", json=sent).json()["outcomes"]
        assert outcome["recorded"]
        assert outcome["message"].startswith("Recorded:")
        assert outcome["version"] == 1
    (pair,) = list_pairs(engine, project.id)
    assert (pair.first, pair.second, pair.agrees) == ("Ann", "Bob", False)
    back = {"token": TOKENS[2], "action": "undo", "undoes": TOKENS[1], "mark": given["mark"]}
    sent = ask(given, "Bob", presses=[back | {"reviewer": "Bob", "example": look["id"]}])
    (outcome,) = client.post("/decisions", json=sent).json()["outcomes"]
    assert (outcome["recorded"], outcome["note"]) == (True, "fine")
    assert list_pairs(engine, project.id) == []
