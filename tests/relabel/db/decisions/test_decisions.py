"""Decisions: recorded, refused, undone, and never changed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from relabel.db.decisions.recording import (
    NewDecision,
    find_by_token,
    get_decision,
    last_undoable,
    record_decision,
    undo_decision,
)
from relabel.db.engine import reading, writing
from relabel.db.examples import get_example
from relabel.db.team.reviewers import ensure_reviewer
from relabel.errors import InvalidDecisionError, NotFoundError, StaleDecisionError
from tests.relabel.db.builders import build_scene


def state(scene, example_id):
    view = get_example(scene.engine, example_id, None)
    return view.status, view.current_label, view.version


def count_events(engine):
    with reading(engine) as connection:
        return connection.execute(text("SELECT count(*) FROM decision")).scalar()


def count_reviewers(engine):
    with reading(engine) as connection:
        return connection.execute(text("SELECT count(*) FROM reviewer")).scalar()


def test_a_decision_is_kept_with_all_its_circumstances(scene):
    example_id = scene.train_ids[4]
    made = record_decision(
        scene.engine,
        NewDecision(
            example_id,
            0,
            " ann ",
            "relabel",
            new_label=2,
            note="ears 👂\nand tail",
            seconds_spent=1.5,
            source="audit",
            rank=2,
            score=4.0,
            run_id=scene.run.id,
            identity_source="account",
        ),
    )
    assert get_decision(scene.engine, made.id) == made
    assert (made.example_id, made.version, made.action, made.undoes) == (
        example_id,
        1,
        "relabel",
        None,
    )
    assert (made.reviewer, made.identity_source) == ("ann", "account")
    assert (made.given_label, made.new_label, made.note) == (1, 2, "ears 👂\nand tail")
    assert (made.seconds_spent, made.source, made.rank, made.score) == (1.5, "audit", 2, 4.0)
    assert made.run_id == scene.run.id
    assert made.created_at.utcoffset().total_seconds() == 0


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("action", "status"),
    [("keep", "kept"), ("exclude", "excluded"), ("ambiguous", "ambiguous"), ("skip", "skipped")],
)
def test_each_action_gives_its_state_and_keeps_the_label(scene, action, status):
    scene.decide(scene.train_ids[1], action)
    assert state(scene, scene.train_ids[1]) == (status, 1, 1)


@pytest.mark.sqlite_only
def test_a_later_decision_replaces_an_earlier_one(scene):
    scene.decide(scene.train_ids[0], "relabel", new_label=2)
    scene.decide(scene.train_ids[0], "keep")
    assert state(scene, scene.train_ids[0]) == ("kept", 0, 2)


def test_numbers_of_other_libraries_are_taken(scene):
    made = record_decision(
        scene.engine,
        NewDecision(
            np.int64(scene.train_ids[0]),
            np.int64(0),
            "ann",
            "relabel",
            new_label=np.int16(1),
            seconds_spent=np.float32(0.5),
            rank=np.int32(1),
            score=np.float32(0.25),
            run_id=np.int64(scene.run.id),
        ),
    )
    assert (made.new_label, made.seconds_spent, made.rank, made.score) == (1, 0.5, 1, 0.25)


def test_a_decision_on_an_old_view_is_refused_and_told(scene):
    example_id = scene.train_ids[0]
    scene.decide(example_id, "relabel", new_label=1, reviewer="bob")
    with pytest.raises(StaleDecisionError, match="bob relabelled it from 'cat' to 'dog'"):
        record_decision(scene.engine, NewDecision(example_id, 0, "ann", "keep"))
    assert count_events(scene.engine) == 1
    assert state(scene, example_id) == ("relabeled", 1, 1)


@pytest.mark.sqlite_only
def test_the_message_tells_what_happened_in_order_newest_last(scene):
    example_id = scene.train_ids[2]
    kept = scene.decide(example_id, "keep", reviewer="bob")
    undo_decision(scene.engine, kept.id, reviewer="cleo")
    scene.decide(example_id, "exclude", reviewer="dan")
    told = "bob kept the label 'emu'.*; then cleo undid a decision on it.*; then dan excluded it"
    with pytest.raises(StaleDecisionError, match=told):
        record_decision(scene.engine, NewDecision(example_id, 0, "ann", "skip"))


def test_a_press_that_arrives_twice_counts_once(scene):
    press = NewDecision(scene.train_ids[0], 0, "ann", "keep")
    record_decision(scene.engine, press)
    with pytest.raises(StaleDecisionError, match="Meanwhile ann kept"):
        record_decision(scene.engine, press)


PRESS = "3b0f6c1e-0c0f-4f0e-9d53-0b7c0e6f6a11"


def test_a_press_with_a_token_is_recorded_once_however_often_it_is_sent(scene):
    press = NewDecision(scene.train_ids[0], 0, "ann", "keep", note="sure", token=PRESS)
    first = record_decision(scene.engine, press)
    assert find_by_token(scene.engine, PRESS) == first
    scene.decide(scene.train_ids[0], "exclude", reviewer="bob")
    assert record_decision(scene.engine, press) == first
    assert count_events(scene.engine) == 2
    assert state(scene, scene.train_ids[0])[0] == "excluded"


def test_an_undo_with_a_token_is_recorded_once(scene):
    kept = scene.decide(scene.train_ids[0], "keep")
    first = undo_decision(scene.engine, kept.id, reviewer="ann", token=PRESS)
    assert undo_decision(scene.engine, kept.id, reviewer="ann", token=PRESS) == first
    assert count_events(scene.engine) == 2


def test_a_token_names_one_decision(scene):
    record_decision(scene.engine, NewDecision(scene.train_ids[0], 0, "ann", "keep", token=PRESS))
    for other in (
        NewDecision(scene.train_ids[1], 0, "ann", "keep", token=PRESS),
        NewDecision(scene.train_ids[0], 1, "ann", "exclude", token=PRESS),
    ):
        with pytest.raises(InvalidDecisionError, match="that of another one"):
            record_decision(scene.engine, other)
    for broken in ("short", "x" * 65, "sixteen letters;"):
        with pytest.raises(InvalidDecisionError, match="16 to 64"):
            record_decision(
                scene.engine, NewDecision(scene.train_ids[1], 0, "ann", "keep", token=broken)
            )
    assert count_events(scene.engine) == 1
    assert find_by_token(scene.engine, PRESS.replace("3", "4")) is None


@pytest.mark.sqlite_only
@pytest.mark.parametrize("version", [1, 99, -1])
def test_a_version_that_never_was_is_refused(scene, version):
    with pytest.raises(StaleDecisionError, match="Reload the page"):
        record_decision(scene.engine, NewDecision(scene.train_ids[0], version, "ann", "keep"))


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"action": "delete"}, "'delete'. Expected one of keep"),
        ({"action": "undo"}, "undo_decision"),
        ({"action": "relabel"}, "without a new label"),
        ({"action": "relabel", "new_label": 0}, "'cat' is the given label.*keep it instead"),
        ({"action": "relabel", "new_label": 3}, "from 0 to 2"),
        ({"action": "relabel", "new_label": -1}, "from 0 to 2"),
        ({"new_label": 1}, "with 'relabel' only"),
        ({"note": "x" * 2001}, "2,001 characters. Expected at most 2,000"),
        ({"note": "nul\x00"}, "NUL"),
        ({"note": "\ud800"}, "Unicode"),
        ({"source": "elsewhere"}, "source"),
        ({"seconds_spent": -1.0}, "seconds"),
        ({"seconds_spent": math.nan}, "seconds"),
        ({"rank": 0}, "rank"),
        ({"score": math.inf}, "score"),
        ({"reviewer": ""}, "name is empty"),
        ({"reviewer": "  "}, "name is empty"),
        ({"reviewer": "x" * 255}, "255 characters"),
        ({"reviewer": "an\nn"}, "control"),
        ({"reviewer": "a\x00nn"}, "control"),
        ({"reviewer": "a\u202enn"}, "control or invisible"),
        ({"identity_source": "guess"}, "identity source"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(scene, wrong, told):
    good = NewDecision(scene.train_ids[0], 0, "ann", "keep")
    with pytest.raises(InvalidDecisionError, match=told):
        record_decision(scene.engine, replace(good, **wrong))
    assert count_events(scene.engine) == 0
    assert count_reviewers(scene.engine) == 0


def test_a_decision_needs_its_example_and_run(scene):
    other = build_scene(scene.engine)
    for example_id in (0, -1, 999, 10**30):
        with pytest.raises(NotFoundError):
            record_decision(scene.engine, NewDecision(example_id, 0, "ann", "keep"))
    with pytest.raises(NotFoundError, match="run"):
        scene.decide(scene.train_ids[0], run_id=other.run.id)


@pytest.mark.sqlite_only
def test_undo_brings_back_what_was_before(scene):
    example_id = scene.train_ids[0]
    first = scene.decide(example_id, "relabel", new_label=1)
    second = scene.decide(example_id, "exclude", reviewer="bob")
    undo = undo_decision(scene.engine, second.id, reviewer="ann", note="no", source="queue")
    assert (undo.action, undo.undoes, undo.version, undo.note) == ("undo", second.id, 3, "no")
    assert (undo.reviewer, undo.source, undo.given_label) == ("ann", "queue", 0)
    assert state(scene, example_id) == ("relabeled", 1, 3)
    undo_decision(scene.engine, first.id, reviewer="ann")
    assert state(scene, example_id) == ("pending", 0, 4)


def test_only_the_decision_on_top_can_be_undone(scene):
    example_id = scene.train_ids[0]
    first = scene.decide(example_id, "keep")
    second = scene.decide(example_id, "skip", reviewer="bob")
    with pytest.raises(StaleDecisionError, match="bob skipped it"):
        undo_decision(scene.engine, first.id, reviewer="ann")
    undo = undo_decision(scene.engine, second.id, reviewer="cleo")
    with pytest.raises(StaleDecisionError, match="cleo undid a decision"):
        undo_decision(scene.engine, second.id, reviewer="ann")
    with pytest.raises(InvalidDecisionError, match="cannot be undone"):
        undo_decision(scene.engine, undo.id, reviewer="ann")
    assert state(scene, example_id) == ("kept", 0, 3)


@pytest.mark.parametrize("decision_id", [0, -1, 999, 10**30])
def test_an_undo_needs_its_decision(scene, decision_id):
    with pytest.raises(NotFoundError, match="decision"):
        undo_decision(scene.engine, decision_id, reviewer="ann")


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "wrong", [{"note": "x" * 2001}, {"source": "here"}, {"reviewer": " "}, {"identity_source": "x"}]
)
def test_an_undo_that_makes_no_sense_is_refused(scene, wrong):
    made = scene.decide(scene.train_ids[0])
    with pytest.raises(InvalidDecisionError):
        undo_decision(scene.engine, made.id, **{"reviewer": "ann", **wrong})
    assert state(scene, scene.train_ids[0]) == ("kept", 0, 1)


def test_undoing_the_last_again_and_again_goes_back_through_ones_own_decisions(scene):
    other = build_scene(scene.engine)
    a, b, c = scene.train_ids[:3]
    for example_id, reviewer in ((a, "ann"), (b, "bob"), (c, "ann"), (b, "ann")):
        scene.decide(example_id, "skip", reviewer=reviewer)
    other.decide(other.train_ids[0])
    undone = []
    while (last := last_undoable(scene.engine, scene.project.id, " ann ")) is not None:
        undo_decision(scene.engine, last.id, reviewer="ann")
        undone.append(last.example_id)
    assert undone == [b, c, a]
    assert state(scene, b)[0] == "skipped"  # bob's stands
    assert last_undoable(scene.engine, scene.project.id, "nobody") is None
    assert last_undoable(scene.engine, other.project.id, "ann") is not None


CHANGES = [
    "UPDATE decision SET note = 'changed'",
    "UPDATE decision SET id = id + 1",
    "DELETE FROM decision",
]
ONLY_SQLITE = [
    "INSERT OR REPLACE INTO decision (id, project_id, example_id, version, reviewer_id, action, "
    "given_label, note, created_at, source) SELECT id, project_id, example_id, version, "
    "reviewer_id, action, given_label, 'changed', created_at, source FROM decision",
    "REPLACE INTO decision (project_id, example_id, version, reviewer_id, action, given_label, "
    "note, created_at, source) SELECT project_id, example_id, version, reviewer_id, action, "
    "given_label, 'changed', created_at, source FROM decision",
]
ONLY_POSTGRESQL = ["TRUNCATE decision CASCADE"]


@pytest.mark.parametrize("statement", CHANGES + ONLY_SQLITE + ONLY_POSTGRESQL)
def test_the_database_itself_refuses_to_change_an_event(scene, statement):
    foreign = ONLY_POSTGRESQL if scene.engine.dialect.name == "sqlite" else ONLY_SQLITE
    if statement in foreign:
        pytest.skip("a statement of the other database")
    made = scene.decide(scene.train_ids[0], note="as it was")
    change = text(statement)
    with pytest.raises(IntegrityError, match="append-only"), writing(scene.engine) as connection:
        connection.execute(change)
    assert get_decision(scene.engine, made.id) == made


@pytest.mark.parametrize(
    "values",
    [
        {"version": 1},  # taken
        {"version": 0},
        {"action": "delete"},
        {"action": "undo"},  # of nothing
        {"action": "keep", "undoes": 1},
        {"action": "keep", "new_label": 1},
        {"example_id": 999},
        {"reviewer_id": 999},
    ],
)
def test_the_database_itself_refuses_an_impossible_event(scene, values):
    made = scene.decide(scene.train_ids[0])
    row = {
        "project_id": scene.project.id,
        "example_id": made.example_id,
        "version": 2,
        "reviewer_id": 1,
        "action": "keep",
        "given_label": 0,
        "new_label": None,
        "note": "",
        "undoes": None,
        "created_at": "2026-01-01 00:00:00",
        "source": "queue",
        **values,
    }
    names = ", ".join(row)
    marks = ", ".join(f":{name}" for name in row)
    insert = text(f"INSERT INTO decision ({names}) VALUES ({marks})")  # noqa: S608 - our own names
    with pytest.raises(IntegrityError), writing(scene.engine) as connection:
        connection.execute(insert, row)
    assert count_events(scene.engine) == 1


def test_a_decision_is_undone_once_even_by_hand(scene):
    made = scene.decide(scene.train_ids[0])
    undo_decision(scene.engine, made.id, reviewer="ann")
    again = text(
        "INSERT INTO decision (project_id, example_id, version, reviewer_id, action, given_label, "
        "note, undoes, created_at, source) SELECT project_id, example_id, 9, reviewer_id, action, "
        "given_label, note, undoes, created_at, source FROM decision WHERE action = 'undo'"
    )
    with pytest.raises(IntegrityError), writing(scene.engine) as connection:
        connection.execute(again)


def test_the_view_of_current_labels_says_what_the_screens_say(scene):
    scene.decide(scene.train_ids[0], "relabel", new_label=2)
    scene.decide(scene.train_ids[1], "exclude")
    with reading(scene.engine) as connection:
        rows = connection.execute(
            text(
                "SELECT label, status FROM current_label WHERE project_id = :p ORDER BY example_id"
            ),
            {"p": scene.project.id},
        ).all()
    views = [get_example(scene.engine, one, None) for one in scene.train_ids + scene.test_ids]
    assert [tuple(row) for row in rows] == [(view.current_label, view.status) for view in views]


def test_a_reviewer_is_entered_once_for_each_way_we_know_the_name(engine):
    first = ensure_reviewer(engine, "ann")
    assert ensure_reviewer(engine, " ann ") == first
    signed_in = ensure_reviewer(engine, "ann", "oidc")
    assert (signed_in.name, signed_in.identity_source) == ("ann", "oidc")
    assert first.id != signed_in.id
    assert count_reviewers(engine) == 2


def test_a_text_meant_to_break_out_of_sql_stays_a_text(scene):
    poison = "x'); DROP TABLE decision; --"
    made = scene.decide(scene.train_ids[0], note=poison, reviewer=poison)
    assert (made.note, made.reviewer) == (poison, poison)
    assert last_undoable(scene.engine, scene.project.id, poison) == made
    assert last_undoable(scene.engine, scene.project.id, "' OR 1=1 --") is None
