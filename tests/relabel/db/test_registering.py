"""A run enters unseen, in short transactions, and is shown at once."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from relabel.db import registration
from relabel.db.engine import open_database, reading
from relabel.db.queue import fetch_page
from relabel.db.registration import register_run, remove_abandoned
from relabel.db.runs import current_run
from relabel.db.schema import PredictionRow, RunRow, ScoreRow, ScoringRow
from relabel.errors import JobError
from tests.relabel.db.builders import build_homes, build_scene, score
from tests.relabel.db.meanwhile import decide_meanwhile


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(registration, "CHUNK", 4)
    monkeypatch.setattr(registration, "PAUSE", 0.0)


def count_rows(engine):
    tables = (ScoringRow, ScoreRow, PredictionRow, RunRow)
    with reading(engine) as connection:
        return [connection.scalar(select(func.count()).select_from(table)) for table in tables]


def between_chunks(monkeypatch, ask):
    """Ask something after each transaction of a registration; return the answers."""
    answers = []
    monkeypatch.setattr(registration.time, "sleep", lambda _seconds: answers.append(ask()))
    return answers


@pytest.mark.parametrize("key", ["first", "second"])
def test_the_old_run_is_shown_until_the_new_one_is_whole(engine, monkeypatch, key):
    scene = build_scene(engine, 11)
    before = fetch_page(engine, scene.run.id)
    answers = between_chunks(
        monkeypatch,
        lambda: (current_run(engine, scene.project.id), fetch_page(engine, scene.run.id)),
    )
    run = register_run(
        engine,
        scene.project.id,
        key=key,
        folder=f"runs/{key}",
        config={},
        checkpoints=[],
        scores={"self_influence": -np.arange(11.0)},
        predictions={"test": (np.zeros(3, int), np.ones(3), np.ones(3))},
    )
    entering = -(-11 // 4) + 1
    assert len(answers) >= entering
    assert answers[:entering] == [(scene.run, before)] * entering
    assert current_run(engine, scene.project.id) == run
    assert [row.position for row in fetch_page(engine, run.id).rows] == list(range(11))
    assert (run.id == scene.run.id) == (key == "first")


class CutOffError(Exception):
    pass


def cut_off(monkeypatch, scene, key, after):
    """Register a run and fail after some chunks, as a killed process does."""
    left = [after]

    def count_down(_seconds):
        left[0] -= 1
        if left[0] == 0:
            raise CutOffError

    monkeypatch.setattr(registration.time, "sleep", count_down)
    with pytest.raises(CutOffError):
        score(scene.engine, scene.project, 11, 3, key=key)
    monkeypatch.setattr(registration.time, "sleep", lambda _seconds: None)


@pytest.mark.parametrize("key", ["first", "second"])
def test_what_a_killed_registration_left_is_removed_by_the_next(engine, monkeypatch, key):
    scene, neighbour = build_scene(engine, 11), build_homes(engine)
    before, page = count_rows(engine), fetch_page(engine, scene.run.id)
    cut_off(monkeypatch, scene, key, after=3)
    assert current_run(engine, scene.project.id) == scene.run
    assert fetch_page(engine, scene.run.id) == page
    assert count_rows(engine)[:2] == [before[0] + 1, before[1] + 12]
    score(engine, scene.project, 11, 3)
    assert count_rows(engine) == before
    assert fetch_page(engine, neighbour.run.id).total == 6


def test_what_is_left_can_be_removed_without_a_registration(engine, monkeypatch):
    scene, neighbour = build_scene(engine, 11), build_scene(engine, 11)
    before = count_rows(engine)
    cut_off(monkeypatch, scene, "second", after=2)
    assert remove_abandoned(engine, neighbour.project.id) == 0
    assert remove_abandoned(engine, scene.project.id) == 1
    assert count_rows(engine) == before
    assert fetch_page(engine, scene.run.id).total == 11


REGISTER = """
import sys
from relabel.db import registration
from relabel.db.engine import open_database
from relabel.db.registration import register_run
registration.CHUNK = 50
print("begin", flush=True)
register_run(open_database(sys.argv[1]), 1, key="first", folder="runs/first", config={},
             checkpoints=[], scores={"self_influence": range(4000)}, predictions={})
"""


def test_a_registration_killed_in_the_middle_is_never_seen(preloaded, sqlite_url, monkeypatch):
    monkeypatch.setattr(registration, "CHUNK", 5000)
    engine = open_database(sqlite_url)
    scene = build_scene(engine, 4000, 1)
    before = count_rows(engine)
    process = preloaded.start("-c", REGISTER, sqlite_url)
    try:
        process.stdout.readline()
        deadline = time.monotonic() + 20
        while count_rows(engine)[1] == before[1] and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        process.kill()
        process.communicate()
    after = count_rows(engine)
    assert (after[0], after[3]) == (before[0] + 1, before[3])
    assert before[1] < after[1] < before[1] + 4000
    assert current_run(engine, scene.project.id) == scene.run
    assert fetch_page(engine, scene.run.id).rows[0].position == 3999
    again = score(engine, scene.project, 4000, 1)
    assert again.id == scene.run.id
    assert count_rows(engine) == before
    engine.dispose()


@pytest.mark.parametrize("at", ["a chunk", "the end"])
def test_the_later_of_two_registrations_wins_and_the_other_is_told(engine, monkeypatch, at):
    scene = build_scene(engine, 11)
    inner, calls = [], []

    def intrude(_seconds):
        calls.append(None)
        wanted = 2 if at == "a chunk" else -(-2 * 11 // 4) + -(-14 // 4)
        if len(calls) == wanted:
            inner.append(score(engine, scene.project, 11, 3, key="intruder"))

    monkeypatch.setattr(registration.time, "sleep", intrude)
    with pytest.raises(JobError, match=r"Another process began.*score again"):
        score(engine, scene.project, 11, 3, key="second")
    assert current_run(engine, scene.project.id) == inner[0]
    assert count_rows(engine)[0] == 2
    assert fetch_page(engine, inner[0].id).total == 11


def test_people_decide_while_a_run_is_entered(sqlite_url, monkeypatch):
    monkeypatch.setattr(registration, "CHUNK", 500)
    monkeypatch.setattr(registration, "PAUSE", 0.01)
    engine = open_database(sqlite_url)
    scene = build_scene(engine, 3000, 1)
    work = partial(score, engine, scene.project, 3000, 1, "second")
    decide_meanwhile(scene, work, fewest=3)
    assert current_run(engine, scene.project.id).key == "second"
    engine.dispose()


@given(keys=st.lists(st.sampled_from(["a", "b", "first"]), max_size=4), cut=st.integers(0, 5))
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_order_of_registrations_leaves_the_rows_of_the_runs(engine, keys, cut):
    scene = build_scene(engine, 11)
    others = [count - mine for count, mine in zip(count_rows(engine), [1, 22, 14, 1], strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        for key in keys:
            if cut:
                cut_off(patch, scene, key, after=cut)
            score(engine, scene.project, 11, 3, key=key)
    num = len({"first", *keys})
    found = [count - other for count, other in zip(count_rows(engine), others, strict=True)]
    assert found == [num, 22 * num, 14 * num, num]
    shown = current_run(engine, scene.project.id)
    assert shown.key == (keys[-1] if keys else "first")
