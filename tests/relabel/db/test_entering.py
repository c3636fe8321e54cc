"""An import enters in short transactions, unseen until it is whole, and never half."""

from __future__ import annotations

import sqlite3
import time

import pytest
from sqlalchemy import func, select, update

from relabel.db import bulk
from relabel.db import examples as examples_module
from relabel.db.bulk import (
    NewProject,
    enter_growth,
    enter_project,
    next_positions,
    read_keys,
    settle_entries,
)
from relabel.db.engine import open_database, reading, writing
from relabel.db.examples import NewExample
from relabel.db.projects import delete_project, get_project, list_hidden_projects, list_projects
from relabel.db.schema import ExampleRow, ProjectRow
from tests.relabel.db.builders import CLASSES, build_scene
from tests.relabel.db.meanwhile import decide_meanwhile
from tracin_core.errors import InputError


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(examples_module, "INSERT_CHUNK", 4)
    monkeypatch.setattr(bulk, "MOVED", 5)
    monkeypatch.setattr(bulk, "PAUSE", 0.0)


def project(slug="grown", **changed) -> NewProject:
    values = {"title": "Grown", "kind": "text", "task": "classification", "target": ""}
    values |= {"classes": CLASSES, "description": "", "settings": {"imports": [1]}}
    return NewProject(slug=slug, **{**values, **changed})


def examples(count, first=0, split="train"):
    return [NewExample(f"{split}-{n}", split, n, n % 3, f"t {n}") for n in range(first, count)]


def grow(engine, found, new, **changed):
    values = {"classes": (*CLASSES, "fox"), "settings": {"imports": [1, 2]}, **changed}
    return enter_growth(engine, found.id, examples=new, **values)


def count_rows(engine):
    with reading(engine) as connection:
        return [
            connection.scalar(select(func.count()).select_from(table))
            for table in (ProjectRow, ExampleRow)
        ]


def test_a_project_is_unseen_until_all_its_examples_are_there(engine, small_chunks):
    seen = []

    def look(number):
        hidden = list_hidden_projects(engine)
        seen.append((number, list_projects(engine), len(hidden)))

    found = enter_project(engine, project(), [*examples(9), *examples(3, split="test")], look)
    assert seen == [(4, [], 1)] * 3
    assert list_projects(engine) == [found] == [get_project(engine, "grown")]
    assert next_positions(engine, found.id) == {"train": 9, "test": 3}
    assert list_hidden_projects(engine) == []


def test_growth_is_unseen_until_all_its_examples_are_there(engine, small_chunks):
    found = enter_project(engine, project(), examples(6))
    seen = []

    def look(number):
        now = get_project(engine, "grown")
        seen.append((number, len(read_keys(engine, found.id)), now.classes, now.settings))

    grow(engine, found, examples(11, 6), on_rows=look)
    before = (6, CLASSES, {"imports": [1]})
    assert seen == [(4, *before), (1, *before)]
    now = get_project(engine, "grown")
    assert (now.classes, now.settings) == ((*CLASSES, "fox"), {"imports": [1, 2]})
    assert next_positions(engine, found.id) == {"train": 11, "test": 0}
    assert list_hidden_projects(engine) == []


def test_much_growth_is_handed_over_in_steps_without_gaps(engine, small_chunks, monkeypatch):
    found = enter_project(engine, project(), examples(6))
    places = []
    monkeypatch.setattr(
        bulk.time,
        "sleep",
        lambda _: places.append(sorted(p for _, p in read_keys(engine, found.id).values())),
    )
    grow(engine, found, examples(20, 6))
    assert all(place == list(range(len(place))) for place in places)
    assert sorted({len(place) for place in places}) == [6, 11, 16]
    assert count_rows(engine) == [1, 20]


class StopError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("grows", [False, True])
def test_an_import_that_is_stopped_leaves_nothing(engine, small_chunks, at, grows):
    found = enter_project(engine, project(), examples(2)) if grows else None
    before, calls = count_rows(engine), []

    def stop(number):
        calls.append(number)
        if len(calls) == at:
            raise StopError

    def enter():
        if found:
            return grow(engine, found, examples(12, 2), on_rows=stop)
        return enter_project(engine, project(), examples(10), stop)

    with pytest.raises(StopError):
        enter()
    assert count_rows(engine) == before
    assert get_project(engine, "grown") == found if grows else list_projects(engine) == []


def test_a_stop_after_the_decision_completes_the_growth(engine, small_chunks, monkeypatch):
    found = enter_project(engine, project(), examples(2))
    whole, calls = bulk._hand_over_chunk, []

    def stop_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(bulk, "_hand_over_chunk", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        grow(engine, found, examples(30, 2))
    assert count_rows(engine) == [1, 30]
    assert get_project(engine, "grown").settings == {"imports": [1, 2]}


def hide_as(engine, name, state, handed_to=None, count=3):
    """Enter what a killed import leaves: a hidden project of such a name."""
    left = enter_project(engine, project("left"), examples(count + 50, 50))
    with writing(engine) as connection:
        connection.execute(
            update(ProjectRow)
            .where(ProjectRow.id == left.id)
            .values(slug=name, state=state, handed_to=handed_to)
        )


def test_what_killed_imports_left_is_settled(engine):
    found = enter_project(engine, project(), examples(50))
    hide_as(engine, "grown", "entering")
    hide_as(engine, "grown2", "entering")
    hide_as(engine, "grown", "deleting")
    settle_entries(engine, "grown")
    hidden = [(one.slug, one.state) for one in list_hidden_projects(engine)]
    assert hidden == [("grown2", "entering"), ("grown", "deleting")]
    assert len(read_keys(engine, found.id)) == 50
    hide_as(engine, "grown", "growing", found.id)
    settle_entries(engine, "grown")
    assert len(read_keys(engine, found.id)) == 53


def test_the_rest_of_a_growth_goes_with_its_project(engine):
    found = enter_project(engine, project(), examples(5))
    hide_as(engine, "grown", "growing", found.id)
    delete_project(engine, found.id)
    again = enter_project(engine, project(), examples(4))
    settle_entries(engine, "grown")
    assert len(read_keys(engine, again.id)) == 4
    assert count_rows(engine) == [1, 4]


def test_a_name_key_or_place_that_is_taken_meanwhile_is_said(engine):
    found = enter_project(engine, project(), examples(5))
    with pytest.raises(InputError, match="made or changed by somebody else"):
        enter_project(engine, project(), examples(3))
    for new in (
        [NewExample("train-1", "train", 5, 0, "a known key")],
        [NewExample("new", "train", 4, 0, "a taken place")],
        [NewExample("new", "train", 6, 0, "a gap")],
        [NewExample("new", "test", 0, 0, "a"), NewExample("new", "test", 1, 0, "twice")],
    ):
        with pytest.raises(InputError, match="Nothing was added; import again"):
            grow(engine, found, new)
    with pytest.raises(InputError, match="classes of 'grown' have changed"):
        grow(engine, found, examples(6, 5), classes=("emu", "cat", "dog"))
    assert count_rows(engine) == [1, 5]
    assert get_project(engine, "grown") == found


def test_an_example_that_is_refused_leaves_nothing(engine, small_chunks):
    bad = NewExample("bad", "train", 9, 7, "no such class")
    with pytest.raises(InputError, match="label 7"):
        enter_project(engine, project(), [*examples(9), bad])
    assert count_rows(engine) == [0, 0]


KILLED = """
import sys
from tests.relabel.db.test_entering import *
examples_module.INSERT_CHUNK = 20
engine = open_database(sys.argv[1])
print("begin", flush=True)
if len(list_projects(engine)):
    grow(engine, get_project(engine, "grown"), examples(20_000, 50))
enter_project(engine, project(), examples(20_000))
"""


@pytest.mark.slow
@pytest.mark.parametrize("grows", [False, True])
def test_a_killed_import_is_never_seen_and_the_next_one_cleans_up(preloaded, sqlite_url, grows):
    engine = open_database(sqlite_url)
    found = enter_project(engine, project(), examples(50)) if grows else None
    process = preloaded.start("-c", KILLED, sqlite_url)
    try:
        process.stdout.readline()
        deadline = time.monotonic() + 20
        while count_rows(engine)[1] < 200 and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        process.kill()
        process.communicate()
    assert 200 <= count_rows(engine)[1] < 20_000
    assert list_projects(engine) == ([found] if grows else [])
    settle_entries(engine, "grown")
    assert count_rows(engine) == ([1, 50] if grows else [0, 0])
    engine.dispose()


def test_nobody_is_locked_out_between_two_chunks(sqlite_url, small_chunks, monkeypatch):
    """A writer that does not wait at all gets in after every chunk, and between the steps."""
    engine = open_database(sqlite_url)
    other = sqlite3.connect(engine.url.database, timeout=0, isolation_level=None)
    writes = []

    def write(_):
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE alembic_version SET version_num = version_num")
        other.execute("COMMIT")
        writes.append(None)

    monkeypatch.setattr(bulk.time, "sleep", write)
    found = enter_project(engine, project(), examples(12))
    assert len(writes) == 3
    grow(engine, found, examples(24, 12))
    assert len(writes) == 3 + 3 + 2  # three chunks each, and between the three steps
    other.close()
    engine.dispose()


@pytest.mark.slow
def test_people_decide_while_much_data_enters(sqlite_url, monkeypatch):
    monkeypatch.setattr(examples_module, "INSERT_CHUNK", 1000)
    monkeypatch.setattr(bulk, "MOVED", 2000)
    engine = open_database(sqlite_url)
    scene = build_scene(engine, 20, 1)

    def enter():
        found = enter_project(engine, project(), examples(15_000))
        grow(engine, found, examples(30_000, 15_000))

    decide_meanwhile(scene, enter, fewest=10)
    assert next_positions(engine, get_project(engine, "grown").id)["train"] == 30_000
    engine.dispose()
