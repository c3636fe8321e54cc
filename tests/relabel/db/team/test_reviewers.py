"""One person has one name however it is spelled, and only a lead does what leads do."""

from __future__ import annotations

import pytest

from relabel.db.decisions.history import fetch_history, reviewers_since
from relabel.db.decisions.recording import (
    NewDecision,
    last_undoable,
    record_decision,
    undo_decision,
)
from relabel.db.team.reviewers import (
    LEAD,
    REVIEWER,
    Identity,
    check_lead,
    ensure_reviewer,
    find_reviewer,
    list_reviewers,
    make_name_key,
    set_role,
)
from relabel.errors import InvalidDecisionError, NotAllowedError

SPELLINGS = ["Ann  Lee", "ann lee", " ANN LEE ", "Ａｎｎ Lee", "Ann\u00a0Lee"]


def test_spellings_of_a_name_are_one_reviewer_and_the_first_stays(engine):
    found = {ensure_reviewer(engine, name).id for name in SPELLINGS}
    assert len(found) == 1
    assert [one.name for one in list_reviewers(engine)] == ["Ann  Lee"]
    assert ensure_reviewer(engine, "Ann Lea").id not in found
    assert ensure_reviewer(engine, "ann lee", "oidc").id not in found
    assert make_name_key("STRASSE") == make_name_key("Straße")
    assert find_reviewer(engine, Identity("nobody")) is None


def test_a_person_finds_what_another_spelling_decided(scene):
    made = scene.decide(scene.train_ids[0], reviewer="Ann")
    assert last_undoable(scene.engine, scene.project.id, "ANN").id == made.id
    assert fetch_history(scene.engine, scene.project.id, reviewer="aNN").total == 1
    assert reviewers_since(scene.engine, scene.train_ids[0], 0) == {"ann"}
    assert scene.decide(scene.train_ids[1], reviewer="ann").reviewer == "Ann"


def test_without_a_lead_everybody_may_do_everything(scene):
    made = scene.decide(scene.train_ids[0], reviewer="ann")
    undo_decision(scene.engine, made.id, reviewer="bob")
    check_lead(scene.engine, Identity("bob"), "export the labels")
    assert find_reviewer(scene.engine, Identity("bob")).may_lead


def test_where_there_is_a_lead_others_leave_alone_what_is_not_theirs(scene):
    first, second, third = scene.train_ids[:3]
    made = scene.decide(first, reviewer="ann")
    own = scene.decide(second, reviewer="bob")
    scene.decide(third, "skip", reviewer="ann")
    set_role(scene.engine, "Cleo", LEAD)
    for wrong in (
        lambda: undo_decision(scene.engine, made.id, reviewer="bob"),
        lambda: record_decision(scene.engine, NewDecision(first, 1, "bob", "exclude")),
        lambda: check_lead(scene.engine, Identity("bob"), "export the labels"),
        lambda: check_lead(scene.engine, Identity("nobody"), "export the labels"),
        lambda: set_role(scene.engine, "bob", LEAD, by=Identity("bob")),
        lambda: set_role(scene.engine, "bob", LEAD, by=Identity("cleo", "oidc")),
        lambda: record_decision(
            scene.engine, NewDecision(scene.train_ids[4], 0, "bob", "keep", source="team")
        ),
    ):
        with pytest.raises(NotAllowedError, match=r"Only a lead may .*Ask Cleo"):
            wrong()
    # What is one's own, or nobody's yet, is as before.
    undo_decision(scene.engine, own.id, reviewer="BOB")
    scene.decide(third, "keep", reviewer="bob")
    scene.decide(scene.train_ids[3], reviewer="bob")
    undo_decision(scene.engine, made.id, reviewer="cleo")
    check_lead(scene.engine, Identity("CLEO"), "export the labels")
    set_role(scene.engine, "bob", LEAD, by=Identity("cleo"))
    set_role(scene.engine, "cleo", REVIEWER)
    assert {one.name: one.role for one in list_reviewers(scene.engine)} == {
        "ann": "reviewer",
        "bob": "lead",
        "Cleo": "reviewer",
    }


@pytest.mark.sqlite_only
def test_a_role_that_is_none_is_refused(engine):
    with pytest.raises(InvalidDecisionError, match="Expected one of reviewer, lead"):
        set_role(engine, "ann", "king")
