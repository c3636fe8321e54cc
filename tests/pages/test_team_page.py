"""The team's page: figures, agreement, settling with one press, roles."""

from __future__ import annotations

import pytest

from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.examples import get_example
from relabel.db.projects import get_project
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.team.opinions import list_pairs, record_opinion
from relabel.db.team.reviewers import LEAD, Identity, list_reviewers, set_role
from relabel.db.team.second_looks import read_wish, set_share
from relabel.errors import NotAllowedError
from relabel.export import export_labels


@pytest.fixture
def answered(engine):
    """The five first suspects of the digits, decided by Ann and answered by Bob, two otherwise."""
    project = get_project(engine, "digits")
    set_share(engine, project.id, 1.0, by=Identity("Ann"))
    rows = fetch_page(engine, current_run(engine, project.id).id, page_size=5).rows
    for number, row in enumerate(rows):
        made = record_decision(engine, NewDecision(row.example_id, 0, "Ann", "keep"))
        action = "exclude" if number < 2 else "keep"
        record_opinion(engine, NewDecision(row.example_id, 0, "Bob", action), made.id)
    return project, [row.example_id for row in rows]


def words(app):
    parts = (app.caption, app.text, app.warning, app.title, app.header)
    return "\n".join(str(one.value).replace("\\", "") for part in parts for one in part)


def test_an_empty_team_says_what_there_will_be(open_app):
    app = open_app("team", project="digits")
    assert not app.exception
    assert "attribution, not authentication" in words(app)
    assert "Nobody has decided anything yet" in words(app)
    assert "No example has been answered by two people yet" in words(app)
    assert "There is no lead" in words(app)


def test_figures_and_agreement_are_those_of_the_answers(open_app, answered):
    app = open_app("team", project="digits")
    assert not app.exception
    metrics = {one.label: one.value for one in app.metric}
    assert metrics["Answered twice"] == "5"
    assert metrics["The same answer"] == "60%"
    people = app.dataframe[0].value
    assert list(people["Name"]) == ["Ann"]
    assert list(people["Of these agreed"]) == ["60%"]
    assert "2 examples to settle" in words(app)


def test_a_disagreement_is_settled_with_one_press(open_app, answered, engine):
    project, ids = answered
    app = open_app("team", project="digits")
    app.button(key=f"settle-{ids[0]}-1-True").click().run()
    assert not app.exception
    app.button(key=f"settle-{ids[1]}-1-False").click().run()
    assert "Nothing is to be settled" in words(app)
    assert get_example(engine, ids[0], None).status == "excluded"
    assert get_example(engine, ids[1], None).status == "kept"
    assert [one.is_open for one in list_pairs(engine, project.id)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_what_was_settled_meanwhile_is_said(open_app, answered, engine):
    _, ids = answered
    app = open_app("team", project="digits")
    record_decision(engine, NewDecision(ids[0], 1, "Cleo", "ambiguous", source="team"))
    app.button(key=f"settle-{ids[0]}-1-True").click().run()
    assert "settled or changed this one meanwhile" in words(app)
    assert get_example(engine, ids[0], None).status == "ambiguous"


def _first(engine):
    run = current_run(engine, get_project(engine, "digits").id)
    return fetch_page(engine, run.id, page_size=1).rows[0].example_id


def test_the_share_and_the_roles_are_set_on_the_page(open_app, engine):
    app = open_app("team", project="digits")
    app.number_input(key="share-digits").set_value(20).run()
    app.button(key="set-share").click().run()
    assert read_wish(get_project(engine, "digits").settings).share == 0.2
    # One's own name has one button, and not a second one that does the same.
    record_decision(
        engine, NewDecision(_first(engine), 0, "tester", "keep", identity_source="account")
    )
    record_decision(engine, NewDecision(_first(engine), 1, "Bob", "exclude"))
    app = open_app("team", project="digits")
    others = [one for one in list_reviewers(engine) if one.name != "tester"]
    roles = [one.key for one in app.button if (one.key or "").startswith("role-")]
    assert roles == [f"role-{one.id}" for one in others]
    app.button(key="lead-me").click().run()
    leads = [one.name for one in list_reviewers(engine) if one.role == LEAD]
    assert leads == ["tester"]
    roles = [one.key for one in app.button if (one.key or "").startswith("role-")]
    assert len(roles) == 2
    assert "There is no lead" not in words(app)


def test_where_somebody_else_leads_nothing_can_be_pressed(open_app, answered, engine):
    project, ids = answered
    set_role(engine, "Cleo", LEAD)
    app = open_app("team", project="digits")
    assert app.button(key=f"settle-{ids[0]}-1-True").disabled
    assert app.number_input(key="share-digits").disabled
    assert all(one.disabled for one in app.button if (one.key or "").startswith("role-"))
    history = open_app("history", project="digits")
    assert history.get("download_button")[0].proto.disabled
    with pytest.raises(NotAllowedError, match="Only a lead may export"):
        export_labels(engine, project.id, format="csv", asked_by=Identity("tester"))
    assert export_labels(engine, project.id, format="csv", asked_by=Identity("CLEO"))
    assert export_labels(engine, project.id, format="csv")  # the command line's
