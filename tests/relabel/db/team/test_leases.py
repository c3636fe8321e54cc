"""What one person has on the screen nobody else is handed, for two minutes and no longer."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import select, update

from relabel.db.engine import reading, writing
from relabel.db.projects import delete_project
from relabel.db.queue import QueueFilter
from relabel.db.schema import LeaseRow, utc_now
from relabel.db.team import handing_out
from relabel.db.team.handing_out import Screen, hand_out
from relabel.db.team.leases import claim, release, release_screen
from relabel.db.team.reviewers import Identity
from tests.relabel.db.builders import build_scene

ANN, BOB = Screen(Identity("Ann"), "tab-1"), Screen(Identity("Bob"), "tab-2")


def hand(scene, screen=ANN, count=2, **more):
    return hand_out(scene.engine, scene.run.id, screen, count=count, **more)


def ids(handed):
    return [one.view.id for one in handed.suspects]


def run_out(scene):
    with writing(scene.engine) as connection:
        connection.execute(update(LeaseRow).values(expires_at=utc_now()))


def leased(scene):
    with reading(scene.engine) as connection:
        query = select(LeaseRow.example_id, LeaseRow.holder).order_by(LeaseRow.example_id)
        return {row.example_id: row.holder for row in connection.execute(query)}


def test_two_people_are_handed_different_examples_in_the_order_of_the_queue(scene):
    first, second = hand(scene), hand(scene, BOB)
    assert ids(first) == [scene.by_rank(1), scene.by_rank(2)]
    assert ids(second) == [scene.by_rank(3), scene.by_rank(4)]
    # Whoever reloads, or opens a second tab, gets the same again.
    assert ids(hand(scene, Screen(Identity(" ANN "), "tab-3"))) == ids(first)
    assert first.with_others == second.with_others == 0


def test_an_example_comes_back_when_it_is_given_back_or_the_lease_runs_out(scene):
    held = ids(hand(scene, count=6))
    assert ids(hand(scene, BOB)) == []
    release(scene.engine, held[:1], screen="tab-2")  # another screen's
    assert ids(hand(scene, BOB)) == []
    release(scene.engine, held[:1], screen="tab-1")
    assert ids(hand(scene, BOB)) == held[:1]
    run_out(scene)
    assert ids(hand(scene, BOB)) == held[:2]
    again = claim(scene.engine, scene.project.id, held, holder=ANN.who.holder, screen="tab-1")
    assert set(again) == set(held[2:])


def test_what_others_hold_is_counted_where_nothing_is_left(scene):
    hand(scene, count=4)
    found = hand(scene, BOB, count=5)
    assert (len(found.suspects), found.with_others) == (2, 4)
    scene.decide(scene.by_rank(1))
    assert hand(scene, BOB, count=5, without=ids(found)).with_others == 3
    cats = QueueFilter(given_labels=(0,))
    assert hand(scene, BOB, count=5, filter=cats).with_others == 1


def test_a_decision_ends_the_lease_and_a_skipped_example_comes_again_to_anybody(scene):
    first = hand(scene, count=6).suspects[0].view
    scene.decide(first.id, "skip")
    assert first.id not in leased(scene)
    assert ids(hand(scene, BOB)) == [first.id]


def test_what_is_decided_between_drawing_and_claiming_is_not_handed_out(scene, monkeypatch):
    draw = handing_out.draw_next_suspects
    decided = []

    def draw_and_be_late(*arguments, **options):
        drawn = draw(*arguments, **options)
        if not decided:
            decided.append(scene.decide(drawn[0].view.id, reviewer="bob"))
        return drawn

    monkeypatch.setattr(handing_out, "draw_next_suspects", draw_and_be_late)
    assert ids(hand(scene)) == [scene.by_rank(2), scene.by_rank(3)]
    assert set(leased(scene)) == {scene.by_rank(2), scene.by_rank(3)}


def test_many_people_at_once_never_have_one_example(engine):
    scene = build_scene(engine, num_train=60)
    people, each = 6, 7
    barrier = Barrier(people)

    def work(number):
        screen = Screen(Identity(f"person {number}"), f"tab-{number}")
        barrier.wait()
        return [one for _ in range(2) for one in ids(hand(scene, screen, each))]

    with ThreadPoolExecutor(people) as pool:
        found = list(pool.map(work, range(people)))
    # Asked twice, everybody has the same ones; nobody those of another.
    assert [len(set(one)) for one in found] == [each] * people
    assert len(set().union(*found)) == people * each


def test_leases_of_a_deleted_project_go_with_it(scene):
    hand(scene)
    delete_project(scene.engine, scene.project.id)
    assert leased(scene) == {}


def test_where_nothing_can_be_held_suspects_come_all_the_same_and_it_is_said(scene, monkeypatch):
    assert hand(scene).unheld == ""
    if scene.engine.dialect.name != "sqlite":
        return  # which has one writer at a time
    monkeypatch.setattr("relabel.db.sqlite.BUSY_TIMEOUT", 50)  # milliseconds
    scene.engine.dispose()  # connections are patient from their beginning
    writer = sqlite3.connect(scene.engine.url.database, isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        found = hand(scene, BOB)
    finally:
        writer.close()
    assert ids(found) == [scene.by_rank(3), scene.by_rank(4)]
    assert "could not be held for you" in found.unheld
    assert "busy" in found.unheld or "locked" in found.unheld


def test_a_screen_that_is_gone_gives_back_what_it_never_heard_of(scene):
    hand(scene)
    hand(scene, Screen(Identity("Ann"), "tab-3"), 3)  # took the first two over, with one more
    release_screen(scene.engine, "tab-1")
    assert len(leased(scene)) == 3
    release_screen(scene.engine, "")
    assert len(leased(scene)) == 3
    release_screen(scene.engine, "tab-3")
    assert leased(scene) == {}
