"""Decisions about many examples at once: all recorded or named, and taken back as one."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from relabel.db.decisions.batches import (
    CHUNK,
    BatchItem,
    NewBatch,
    list_batches,
    record_batch,
    summarize_refused,
    undo_batch,
)
from relabel.db.decisions.recording import undo_decision
from relabel.db.engine import reading
from relabel.db.examples import get_example
from relabel.db.stats import review_progress
from relabel.db.team.handing_out import Screen, hand_out
from relabel.db.team.reviewers import LEAD, Identity, set_role
from relabel.db.team.second_looks import set_share
from relabel.errors import InvalidDecisionError, NotFoundError
from tests.relabel.db.builders import build_homes, build_scene

FIRST = "0123456789abcdef-batch"
SECOND = "fedcba9876543210-batch"
THIRD = "0246813579fedcba-batch"


def batch(scene, ids, action="keep", new_label=None, token=FIRST, **fields):
    items = [BatchItem(example_id=one, version=0, new_label=new_label) for one in ids]
    new = NewBatch(token=token, reviewer="ann", action=action, items=items, **fields)
    return record_batch(scene.engine, scene.project.id, new)


def undo(scene, token=FIRST, by=SECOND, reviewer="ann"):
    return undo_batch(scene.engine, scene.project.id, token, token=by, reviewer=reviewer)


def states(scene):
    views = [get_example(scene.engine, one, None) for one in scene.train_ids]
    return [(view.status, view.current_label, view.version) for view in views]


def count_events(engine):
    with reading(engine) as connection:
        return connection.execute(text("SELECT count(*) FROM decision")).scalar()


def test_many_are_decided_and_taken_back_as_one(scene):
    before = states(scene)
    chosen = scene.train_ids[:4]
    made = batch(scene, chosen, "exclude", run_id=scene.run.id, note="blurred")
    assert made.recorded == tuple(chosen)
    assert not made.refused
    assert [one[0] for one in states(scene)] == ["excluded"] * 4 + ["pending"] * 2
    (listed,) = list_batches(scene.engine, scene.project.id)
    assert (listed.reviewer, listed.actions, listed.size, listed.in_force) == (
        "ann",
        ("exclude",),
        4,
        4,
    )
    back = undo(scene, reviewer="bob")
    assert back.recorded == tuple(chosen)
    assert not back.refused
    assert [one[:2] for one in states(scene)] == [one[:2] for one in before]
    assert [one[2] for one in states(scene)] == [2, 2, 2, 2, 0, 0]
    assert list_batches(scene.engine, scene.project.id) == []


def test_a_stale_one_is_named_and_the_others_are_recorded(scene):
    scene.decide(scene.train_ids[1], "relabel", new_label=2, reviewer="bob")
    made = batch(scene, scene.train_ids[:3])
    assert made.recorded == (scene.train_ids[0], scene.train_ids[2])
    assert [one.example_id for one in made.refused] == [scene.train_ids[1]]
    assert "bob relabelled it from 'dog' to 'emu'" in made.refused[0].reason
    assert summarize_refused(made).startswith("Not recorded for 1 example: Meanwhile bob")


@pytest.mark.sqlite_only
def test_what_has_the_new_label_already_is_kept(scene):
    made = batch(scene, scene.train_ids[:3], "relabel", new_label=1)
    assert made.kept == (scene.train_ids[1],)
    assert [one[:2] for one in states(scene)][:3] == [
        ("relabeled", 1),
        ("kept", 1),
        ("relabeled", 1),
    ]


@pytest.mark.sqlite_only
def test_each_may_have_a_label_of_its_own(scene):
    items = [
        BatchItem(example_id=one, version=0, new_label=label, rank=1 + label, score=0.5)
        for one, label in zip(scene.train_ids, [2, 2, 0], strict=False)
    ]
    new = NewBatch(token=FIRST, reviewer="ann", action="relabel", items=items)
    record_batch(scene.engine, scene.project.id, new)
    assert [one[1] for one in states(scene)][:3] == [2, 2, 0]


@pytest.mark.sqlite_only
def test_numbers_are_corrected_together(engine):
    scene = build_homes(engine)
    items = [
        BatchItem(example_id=one, version=0, new_value=value)
        for one, value in zip(scene.train_ids, [100.0, 7.5], strict=False)
    ]
    new = NewBatch(token=FIRST, reviewer="ann", action="relabel", items=items)
    made = record_batch(engine, scene.project.id, new)
    assert made.kept == (scene.train_ids[0],)
    assert get_example(engine, scene.train_ids[1], None).current_value == 7.5


def test_a_batch_that_is_sent_twice_is_recorded_once(scene):
    first = batch(scene, scene.train_ids[:3])
    assert batch(scene, scene.train_ids[:3]).recorded == first.recorded
    assert count_events(scene.engine) == 3
    back = undo(scene)
    assert undo(scene).recorded == back.recorded
    assert count_events(scene.engine) == 6


def test_only_what_is_still_in_force_is_taken_back(scene):
    batch(scene, scene.train_ids[:3])
    one = get_example(scene.engine, scene.train_ids[0], None).last_decision_id
    undo_decision(scene.engine, one, reviewer="bob")
    scene.decide(scene.train_ids[1], "exclude", reviewer="bob")
    back = undo(scene)
    assert back.recorded == (scene.train_ids[2],)
    assert [one.example_id for one in back.refused] == scene.train_ids[:2]
    assert "bob undid a decision on it" in back.refused[0].reason
    assert "bob excluded it" in back.refused[1].reason
    assert [one[0] for one in states(scene)][:3] == ["pending", "excluded", "pending"]


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("action", "label", "words"),
    [
        ("undo", None, "undo needs the decision"),
        ("relabel", None, "without a new label"),
        ("relabel", 7, "class index from 0 to 2"),
        ("keep", 1, "came with a new label"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_whole(scene, action, label, words):
    with pytest.raises(InvalidDecisionError, match=words):
        batch(scene, scene.train_ids, action, label)
    assert count_events(scene.engine) == 0


def test_nothing_selected_and_strangers_are_said(scene):
    with pytest.raises(InvalidDecisionError, match="No example is selected"):
        batch(scene, [])
    other = build_scene(scene.engine)
    made = batch(scene, [scene.train_ids[0], other.train_ids[0], 2**70])
    assert made.recorded == (scene.train_ids[0],)
    assert {one.reason for one in made.refused} == {"It is no example of this project."}
    with pytest.raises(NotFoundError, match="no run"):
        batch(scene, scene.train_ids, run_id=other.run.id)
    with pytest.raises(NotFoundError, match="no decisions that were made together"):
        undo(other)


def test_ten_thousand_are_decided_in_a_few_seconds(engine):
    # Of what takes longer there, three chunks show the same.
    many = 10_000 if engine.dialect.name == "sqlite" else 2 * CHUNK + 1
    scene = build_scene(engine, num_train=many)
    began = time.process_time()
    assert len(batch(scene, scene.train_ids).recorded) == many > 2 * CHUNK
    taken = time.process_time() - began
    assert review_progress(engine, scene.project.id).by_status["kept"] == many
    assert len(undo(scene).recorded) == many
    assert taken < 10  # seconds of a processor; 0.9 on SQLite


def read_columns(scene, token):
    names = "signal, label_before, label_after"
    query = text(f"SELECT {names} FROM decision WHERE batch = :batch ORDER BY example_id")  # noqa: S608
    with reading(scene.engine) as connection:
        return [tuple(row) for row in connection.execute(query, {"batch": token})]


def test_an_audit_finds_what_each_changed(scene):
    first, second = scene.train_ids[:2]
    given = [get_example(scene.engine, one, None).given_label for one in (first, second)]
    new = 1 - given[0]
    items = [
        BatchItem(example_id=first, version=0, new_label=new),
        BatchItem(example_id=second, version=0, new_label=given[1]),
    ]
    made = NewBatch(token=FIRST, reviewer="ann", action="relabel", items=items, signal="margin")
    record_batch(scene.engine, scene.project.id, made)
    assert read_columns(scene, FIRST) == [
        ("margin", given[0], new),
        ("margin", given[1], given[1]),
    ]
    undo(scene)
    assert read_columns(scene, SECOND) == [(None, new, given[0]), (None, given[1], given[1])]


def test_an_undo_shows_again_what_lay_below(scene):
    one = scene.train_ids[0]
    given = get_example(scene.engine, one, None).given_label
    batch(scene, [one], "relabel", 1 - given, token=THIRD)
    item = BatchItem(example_id=one, version=1)
    new = NewBatch(token=FIRST, reviewer="ann", action="exclude", items=[item])
    record_batch(scene.engine, scene.project.id, new)
    undo(scene)
    assert read_columns(scene, SECOND) == [(None, given, 1 - given)]


def test_only_a_lead_overrules_others_and_takes_theirs_back(scene):
    set_role(scene.engine, "Cleo", LEAD)
    mine, theirs = scene.train_ids[:2]
    batch(scene, [mine], "exclude", token=THIRD)
    items = [BatchItem(example_id=mine, version=1), BatchItem(example_id=theirs, version=0)]
    new = NewBatch(token=FIRST, reviewer="bob", action="keep", items=items)
    made = record_batch(scene.engine, scene.project.id, new)
    assert made.recorded == (theirs,)
    (refused,) = made.refused
    assert (refused.example_id, "Only a lead may decide otherwise") == (mine, refused.reason[:32])
    left = undo(scene, reviewer="ann")
    assert (left.recorded, left.refused[0].example_id) == ((), theirs)
    assert (
        "Only a lead may take back what somebody else decided. Ask Cleo" in left.refused[0].reason
    )
    assert undo(scene, by="of-cleo-0123456789", reviewer="CLEO").recorded == (theirs,)


def test_what_is_decided_together_is_given_back_and_drawn_for_a_second_look(scene):
    screen = Screen(Identity("ann"), "tab-of-ann")
    held = hand_out(scene.engine, scene.run.id, screen, count=2).suspects
    set_share(scene.engine, scene.project.id, 1.0, by=screen.who)
    batch(scene, [one.view.id for one in held])
    with reading(scene.engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM lease")) == 0
        noted = set(connection.scalars(text("SELECT example_id FROM second_look")))
    assert noted == {one.view.id for one in held}
