"""What the review's screen may send, and what it is answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import writing
from relabel.db.projects import get_project
from relabel.db.schema import DecisionRow, ProjectRow
from relabel.errors import DatabaseError
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from ui.review.routes import LONGEST_BODY, REVIEW_ROUTES
from ui.server.guard import Guard

TOKENS = [f"token-of-the-test-{number}" for number in range(4)]


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=REVIEW_ROUTES, middleware=[Middleware(Guard)])
    return TestClient(app, base_url="http://localhost")


@pytest.fixture
def screen(open_review):
    return open_review(project="digits")


def about(sheet, token, action="keep", **more):
    names = ("version", "mark", "rank", "score", "run")
    shown = {name: sheet[name] for name in names}
    return {"token": token, "example": sheet["id"], "action": action, **shown, **more}


def ask(screen, **more):
    return {name: screen.given[name] for name in ("project", "query", "reviewer", "screen")} | more


def actions(engine):
    rows = fetch_history(engine, get_project(engine, "digits").id).rows
    return [row.action for row in reversed(rows)]


def test_a_list_is_recorded_in_its_order_and_sent_again_changes_nothing(client, screen, engine):
    first, second = screen.given["first"]["suspects"]
    presses = [
        about(first, TOKENS[0], note="sure"),
        about(second, TOKENS[1], "exclude"),
        {
            "token": TOKENS[2],
            "action": "undo",
            "undoes": TOKENS[0],
            "example": first["id"],
            "mark": screen.given["mark"],
        },
        about(first, TOKENS[3], "ambiguous", version=2),
    ]
    told = [
        client.post("/decisions", json=ask(screen, presses=presses)).json()["outcomes"]
        for _ in range(2)
    ]
    assert told[0] == told[1]
    assert [one["recorded"] for one in told[0]] == [True] * 4
    assert [one["version"] for one in told[0]] == [1, 1, 2, 3]
    assert told[0][2]["note"] == "sure"
    assert actions(engine) == ["keep", "exclude", "undo", "ambiguous"]


def test_the_next_suspects_leave_out_what_the_screen_has(client, screen):
    held = [one["id"] for one in screen.given["first"]["suspects"]]
    answer = client.post("/suspects", json=ask(screen, held=held, count=5)).json()
    assert len(answer["suspects"]) == 5
    assert not set(held) & {one["id"] for one in answer["suspects"]}
    assert all(len(one["sides"]) == 2 for one in answer["suspects"])
    asked = client.post("/suspects", json=ask(screen, ids=held)).json()
    assert [one["id"] for one in asked["asked"]] == held
    assert asked["suspects"] == []


def test_a_press_that_arrives_in_another_workspace_is_refused(client, screen, engine):
    """A server of another workspace may listen where a tab still has something to send."""
    undone = {"token": TOKENS[1], "action": "undo", "decision": 1, "mark": screen.given["mark"]}
    presses = [about(screen.sheet, TOKENS[0]), undone]
    with writing(engine) as connection:
        made = update(ProjectRow).values(created_at=datetime(2026, 1, 1, tzinfo=UTC))
        connection.execute(made)
    outcomes = client.post("/decisions", json=ask(screen, presses=presses)).json()["outcomes"]
    assert [one["recorded"] for one in outcomes] == [False, False]
    assert all("another project or workspace" in one["message"] for one in outcomes)
    assert actions(engine) == []


def test_a_backup_has_no_tokens_and_can_be_restored_beside_its_project(
    client, screen, engine, workspace, tmp_path
):
    presses = [about(screen.sheet, TOKENS[0])]
    client.post("/decisions", json=ask(screen, presses=presses))
    path = backup_project(engine, workspace, "digits", tmp_path / "digits.zip")
    restore_project(engine, workspace, path, slug="again")
    with engine.connect() as connection:
        tokens = connection.scalars(select(DecisionRow.token).order_by(DecisionRow.id)).all()
    assert tokens == [TOKENS[0], None]


def test_a_screen_is_told_what_others_have_decided_of_what_it_has_ahead(client, screen, engine):
    first, second = screen.given["first"]["suspects"]
    third = client.post("/suspects", json=ask(screen, count=3)).json()["suspects"][2]
    record_decision(engine, NewDecision(second["id"], 0, "Ada", "exclude"))
    seen = {str(one["id"]): one["version"] for one in (second, third)}
    answer = client.post(
        "/decisions", json=ask(screen, presses=[about(first, TOKENS[0])], seen=seen)
    )
    assert answer.json()["changed"] == [second["id"]]
    seen[str(second["id"])] = 1
    assert client.post("/suspects", json=ask(screen, seen=seen)).json()["changed"] == []
    for wrong in ([1], {"1": "x"}, {str(10**30): 0}):
        answer = client.post("/suspects", json=ask(screen, seen=wrong))
        assert answer.status_code == 422 or answer.json()["changed"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"token": "short"},
        {"token": 7},
        {"action": "delete"},
        {"action": "relabel"},
        {"newLabel": True},
        {"example": "1"},
        {"example": 2**60},
        {"example": -1},
        {"version": 0.5},
        {"seconds": -1},
        {"rank": 0},
        {"run": 99},
        {"note": "x" * 3000},
        {"note": ["x"]},
        {"typed": "much"},
        {"mark": ""},
        {"mark": "0" * 24},
        {"undoes": TOKENS[3], "action": "undo"},
        {"decision": 10**15, "action": "undo"},
    ],
)
def test_what_is_no_press_is_refused_in_words(client, screen, engine, change):
    press = about(screen.sheet, TOKENS[0]) | change
    response = client.post("/decisions", json=ask(screen, presses=[press]))
    if response.status_code == 200:
        (outcome,) = response.json()["outcomes"]
        assert not outcome["recorded"]
        assert len(outcome["message"]) > 20
    else:
        assert response.status_code == 422
        assert "xpected" in response.text
    assert actions(engine) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"project": "nobody"},
        {"project": "digits"},
        {"project": "digits", "query": 7},
        {"project": "digits", "query": {"run": 1, "signal": "loss"}},
        {"project": "digits", "presses": "x"},
    ],
)
@pytest.mark.parametrize("address", ["/suspects", "/decisions"])
def test_what_is_no_question_is_refused_in_words(client, screen, address, body):
    response = client.post(address, json=body)
    assert response.status_code == 422
    assert response.text


def test_only_our_own_page_may_ask_and_only_in_json(client, screen, engine):
    body = json.dumps(ask(screen, presses=[about(screen.sheet, TOKENS[0])]))
    plain = {"content-type": "text/plain"}
    assert client.post("/decisions", content=body, headers=plain).status_code == 415
    other = {"content-type": "application/json", "origin": "http://localhost:9999"}
    assert client.post("/decisions", content=body, headers=other).status_code == 403
    ours = {"content-type": "application/json"}
    for content in ("[]", "{", "\xff", '{"a":' * 100_000, " " * (LONGEST_BODY + 1)):
        assert client.post("/decisions", content=content, headers=ours).status_code == 400
    assert client.get("/decisions").status_code == 405
    assert actions(engine) == []


def test_where_the_database_fails_the_rest_is_not_tried(client, screen, monkeypatch):
    tried = []

    def fail(engine, new):
        tried.append(new)
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr("ui.review.decisions.record_decision", fail)
    presses = [
        about(sheet, token)
        for sheet, token in zip(screen.given["first"]["suspects"], TOKENS, strict=False)
    ]
    outcomes = client.post("/decisions", json=ask(screen, presses=presses)).json()["outcomes"]
    assert [one["message"] for one in outcomes] == ["Not recorded. The disk is full."] * 2
    assert [one["sheet"]["id"] for one in outcomes] == [one["example"] for one in presses]
    assert len(tried) == 1
