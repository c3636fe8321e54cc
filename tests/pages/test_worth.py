"""The rate of wrong labels, when to stop and the queue that learns, through pages and routes."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import reading, writing
from relabel.db.examples import get_example
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.schema import RunRow
from relabel.db.team.audits import list_items, read_audit
from relabel.db.team.reviewers import Identity
from relabel.triage.signals import LEARNED
from relabel.worth.audit import AuditPlan, draw_audit
from relabel.worth.noise_rate import read_noise_rate
from tests.pages.review_screen import find_given
from ui.review.routes import REVIEW_ROUTES
from ui.review.sheets import BLIND_PLACE
from ui.server.guard import Guard
from ui.worth.learning import SCORED_SINCE


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=REVIEW_ROUTES, middleware=[Middleware(Guard)])
    return TestClient(app, base_url="http://localhost")


@pytest.fixture
def project(engine):
    return get_project(engine, "digits")


def texts(app):
    return " ".join(
        str(one.value) for kind in ("caption", "info", "success") for one in getattr(app, kind)
    )


def decide(engine, example_id, action, source="queue"):
    version = get_example(engine, example_id, None).version
    record_decision(engine, NewDecision(example_id, version, "tester", action, source=source))


def items(engine, project):
    with reading(engine) as connection:
        return list_items(connection, read_audit(engine, project.id))


def draw(open_app, size, mix=100):
    app = open_app("overview")
    app.number_input(key="audit-size").set_value(size)
    app.number_input(key="audit-mix").set_value(mix)
    app.run()
    app.button(key="draw-audit").click().run()
    assert not app.exception
    return app


def test_an_audit_is_drawn_and_its_rate_stands_on_overview(open_app, engine, project):
    assert "says nothing of the rest" in texts(open_app("overview"))
    app = draw(open_app, 20)
    assert "none is answered yet" in texts(app)
    for number, one in enumerate(items(engine, project)):
        decide(engine, one.example_id, "exclude" if number < 5 else "keep", source="audit")
    app = open_app("overview")
    values = {one.label: one.value for one in app.metric}
    assert values["Answered"] == "20 of 20"
    assert values["Labels that are wrong"] == "25.0%"
    app.number_input(key="audit-width").set_value(10.0).run()
    noise = read_noise_rate(engine, project.id)
    more = noise.count_more(0.1)
    assert more > 0
    assert app.button(key="draw-more").label == f"Draw {more} more"
    app.button(key="draw-more").click().run()
    assert not app.exception
    assert len(items(engine, project)) == 20 + more


def test_what_comes_of_an_audit_looks_like_any_other_and_is_recorded_as_its(
    open_app, client, engine, project
):
    draw(open_app, 5, mix=50)
    given = find_given(open_app("review"))
    body = {name: given[name] for name in ("project", "query")}
    body |= {"reviewer": "tester", "screen": "a"}
    sheets = client.post("/suspects", json=body | {"count": 12}).json()["suspects"]
    assert {one["place"] for one in sheets} == {BLIND_PLACE}
    assert len({tuple(sorted(one)) for one in sheets}) == 1  # the same names of fields
    assert all(len(one["shown"]["ticket"]) == 16 for one in sheets)
    drawn = {one.example_id for one in items(engine, project)}
    presses = [
        {
            "token": f"token-of-the-worth-{number:04d}",
            "example": sheet["id"],
            "action": "keep",
            "reviewer": "tester",
            "shown": sheet["shown"],
            **{name: sheet[name] for name in ("version", "mark", "rank", "score", "run", "look")},
        }
        for number, sheet in enumerate(sheets)
    ]
    outcomes = client.post("/decisions", json=body | {"presses": presses}).json()["outcomes"]
    assert all(one["recorded"] for one in outcomes)
    answered = {one.example_id for one in items(engine, project) if one.is_wrong is False}
    assert answered == drawn & {one["id"] for one in sheets}
    assert answered


def test_the_rule_is_said_on_overview_and_to_the_screen(open_app, client, engine, project):
    run = current_run(engine, project.id)
    rows = fetch_page(engine, run.id, page_size=60).rows
    for number, row in enumerate(rows):
        decide(engine, row.example_id, "exclude" if number < 10 else "keep")
    app = open_app("overview")
    assert "at 95% confidence for 80% of the errors" in texts(app)
    app.selectbox(key="stop-recall").select(0.9).run()
    assert not app.exception
    assert "at 95% confidence for 90% of the errors" in texts(app)
    given = find_given(open_app("review"))
    body = {name: given[name] for name in ("project", "query")}
    answer = client.post("/suspects", json=body | {"reviewer": "x", "screen": "a"}).json()
    assert "for 90% of the errors" in answer["standing"]


def test_the_queue_learns_when_enough_is_decided_and_forgets(open_app, engine, project, workspace):
    app = open_app("overview")
    app.button(key="learn-order").click().run()
    assert "0 decisions of 50" in app.warning[0].value
    run = current_run(engine, project.id)
    # All of it teaches, and this seed draws some of the most suspect.
    plan = AuditPlan(size=120, teaching_share=1.0, seed="5eed")
    draw_audit(engine, workspace.project_folder("digits"), run, plan, by=Identity("tester"))
    wrong = {row.example_id for row in fetch_page(engine, run.id, page_size=80).rows}
    for one in items(engine, project):
        decide(engine, one.example_id, "exclude" if one.example_id in wrong else "keep", "audit")
    for row in fetch_page(engine, run.id, page_size=40).rows:
        if row.status == "pending":
            decide(engine, row.example_id, "exclude")
    app = open_app("overview")
    app.button(key="learn-order").click().run()
    assert not app.exception
    now = current_run(engine, project.id)
    assert (LEARNED in now.signals) == ("So it ranks the queue" in texts(app))
    assert "drawn at random" in texts(app)
    if LEARNED in now.signals:
        assert not open_app("queue").exception
        app = open_app("overview")
        app.button(key="forget-order").click().run()
        assert LEARNED not in current_run(engine, project.id).signals
    assert list(current_run(engine, project.id).signals) == list(run.signals)


def test_a_scoring_that_lost_the_learned_order_says_so(open_app, engine, project):
    assert SCORED_SINCE not in texts(open_app("overview"))
    run = current_run(engine, project.id)
    assert run is not None
    of_run = select(RunRow.__table__).where(RunRow.id == run.id)
    with writing(engine) as connection:
        values = dict(connection.execute(of_run).mappings().one())
        values |= {"id": None, "key": "earlier", "is_current": False, "scoring_id": None}
        values["signals"] = [LEARNED, *values["signals"]]
        connection.execute(insert(RunRow).values(values))
    assert SCORED_SINCE in texts(open_app("overview"))
