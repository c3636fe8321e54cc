"""Projects renamed, put away, grown and deleted."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DBAPIError

from relabel.db import projects, registration
from relabel.db.bulk import next_positions, read_keys
from relabel.db.decisions.recording import NewDecision, record_decision, undo_decision
from relabel.db.engine import open_database, reading, writing
from relabel.db.examples import NewExample, add_examples, get_example
from relabel.db.jobs import claim_job, create_job, finish_job
from relabel.db.projects import (
    archive_project,
    create_project,
    delete_project,
    finish_deletions,
    get_project,
    get_project_by_id,
    list_projects,
    rename_project,
    unarchive_project,
)
from relabel.db.queue import fetch_page
from relabel.db.runs import get_run
from relabel.db.schema import Base, DecisionRow, ProjectRow, ReviewerRow
from relabel.errors import JobError, NotFoundError
from tests.relabel.db.builders import CLASSES, build_scene
from tests.relabel.db.meanwhile import decide_meanwhile
from tracin_core.errors import InputError


def count_rows(engine):
    """Return the rows of every table but the reviewers', who are no project's."""
    tables = [one for one in Base.metadata.sorted_tables if one.name != ReviewerRow.__tablename__]
    with reading(engine) as connection:
        return {
            one.name: connection.scalar(select(func.count()).select_from(one)) for one in tables
        }


def work_on(scene):
    """Leave a trace of each kind: decisions, an undo, a finished job."""
    scene.decide(scene.by_rank(1), run_id=scene.run.id)
    taken_back = scene.decide(scene.by_rank(2), "exclude")
    undo_decision(scene.engine, taken_back.id, reviewer="bob")
    other = (get_example(scene.engine, scene.by_rank(2), None).given_label + 1) % len(CLASSES)
    scene.decide(scene.by_rank(2), "relabel", new_label=other)
    job = create_job(scene.engine, scene.project.slug, "score")
    claim_job(scene.engine, job.id)
    finish_job(scene.engine, job.id, "succeeded")
    return scene


def test_a_title_and_a_description_change_and_the_address_stays(scene):
    renamed = rename_project(scene.engine, scene.project.id, title=" Tiere <b> 🐈 ")
    assert (renamed.title, renamed.slug) == ("Tiere <b> 🐈", scene.project.slug)
    renamed = rename_project(scene.engine, scene.project.id, description="Why")
    assert (renamed.title, renamed.description) == ("Tiere <b> 🐈", "Why")
    assert get_project(scene.engine, scene.project.slug) == renamed


@pytest.mark.sqlite_only
@pytest.mark.parametrize("wrong", [{"title": "  "}, {"title": "a\x00"}, {"description": "\ud800"}])
def test_an_impossible_name_is_refused(scene, wrong):
    with pytest.raises(InputError):
        rename_project(scene.engine, scene.project.id, **wrong)
    assert get_project_by_id(scene.engine, scene.project.id) == scene.project


def test_an_archived_project_leaves_the_list_and_comes_back_whole(scene):
    archived = archive_project(scene.engine, scene.project.id)
    assert archived.archived_at is not None
    assert list_projects(scene.engine) == []
    assert list_projects(scene.engine, archived=True) == [archived]
    assert get_project(scene.engine, scene.project.slug) == archived
    assert unarchive_project(scene.engine, scene.project.id) == scene.project
    assert list_projects(scene.engine) == [scene.project]


def test_a_deleted_project_leaves_nothing_and_its_neighbour_whole(engine, monkeypatch):
    monkeypatch.setattr(projects, "CHUNK", 4)
    monkeypatch.setattr(registration, "CHUNK", 4)
    neighbour = work_on(build_scene(engine))
    before = count_rows(engine)
    scene = work_on(build_scene(engine, 11, 5))
    delete_project(engine, scene.project.id)
    assert count_rows(engine) == before
    assert list_projects(engine) == [neighbour.project]
    assert get_example(engine, neighbour.by_rank(2), neighbour.run.id).status == "relabeled"
    assert fetch_page(engine, neighbour.run.id).total == 6
    with pytest.raises(NotFoundError):
        get_project(engine, scene.project.slug)
    with pytest.raises(NotFoundError):
        delete_project(engine, scene.project.id)
    again = create_project(
        engine, slug=scene.project.slug, title="Again", kind="text", classes=CLASSES
    )
    assert next_positions(engine, again.id) == {"train": 0, "test": 0}


def test_a_project_at_work_is_not_deleted(scene):
    job = create_job(scene.engine, scene.project.slug, "train")
    before = count_rows(scene.engine)
    with pytest.raises(JobError, match=r"train is queued.*cancel it"):
        delete_project(scene.engine, scene.project.id)
    assert count_rows(scene.engine) == before
    assert list_projects(scene.engine) == [scene.project]
    finish_job(scene.engine, job.id, "cancelled")
    delete_project(scene.engine, scene.project.id)
    assert list_projects(scene.engine) == []


class CutOffError(Exception):
    pass


@pytest.mark.parametrize("step", ["remove_scoring", "_cut_examples"])
def test_a_deletion_cut_off_is_out_of_sight_and_finished_later(engine, monkeypatch, step):
    monkeypatch.setattr(projects, "CHUNK", 4)
    scene = work_on(build_scene(engine, 11, 5))
    whole, calls = getattr(projects, step), []

    def once(*arguments):
        if calls:
            raise CutOffError
        calls.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(projects, step, once)
    if step == "remove_scoring":  # there is one only, so let it fail before
        calls.append(None)
    with pytest.raises(CutOffError):
        delete_project(engine, scene.project.id)
    monkeypatch.setattr(projects, step, whole)
    assert list_projects(engine) == list_projects(engine, archived=True) == []
    for ask in (
        lambda: get_project(engine, scene.project.slug),
        lambda: get_project_by_id(engine, scene.project.id),
        lambda: get_run(engine, scene.run.id),
        lambda: fetch_page(engine, scene.run.id),
        lambda: record_decision(engine, NewDecision(scene.test_ids[-1], 0, "ann", "keep")),
    ):
        with pytest.raises(NotFoundError):
            ask()
    create_project(engine, slug=scene.project.slug, title="New", kind="text", classes=CLASSES)
    assert finish_deletions(engine) == 1
    assert finish_deletions(engine) == 0
    rows = count_rows(engine)
    assert rows.pop("project") == 1
    assert set(rows.values()) == {0}


def test_a_hidden_project_that_is_being_entered_is_left_alone(scene):
    with writing(scene.engine) as connection:
        connection.execute(update(ProjectRow).values(state="restoring"))
    before = count_rows(scene.engine)
    assert finish_deletions(scene.engine) == 0
    assert count_rows(scene.engine) == before


DELETE = """
import sys
from relabel.db import projects
from relabel.db.engine import open_database
projects.CHUNK = 20
print("begin", flush=True)
projects.delete_project(open_database(sys.argv[1]), int(sys.argv[2]))
"""


def test_a_deletion_that_was_killed_is_finished_at_the_next_start(preloaded, sqlite_url):
    engine = open_database(sqlite_url)
    scene = build_scene(engine, 3000)
    process = preloaded.start("-c", DELETE, sqlite_url, str(scene.project.id))
    try:
        process.stdout.readline()
        deadline = time.monotonic() + 20
        while list_projects(engine) and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    assert list_projects(engine) == []
    assert count_rows(engine)["example"] > 0
    assert finish_deletions(engine) == 1
    assert set(count_rows(engine).values()) == {0}
    engine.dispose()


def test_a_decision_gets_in_between_the_chunks(sqlite_url, monkeypatch):
    monkeypatch.setattr(projects, "CHUNK", 200)
    monkeypatch.setattr(registration, "CHUNK", 200)
    engine = open_database(sqlite_url)
    doomed, alive = build_scene(engine, 1500), build_scene(engine)
    decide_meanwhile(alive, partial(delete_project, engine, doomed.project.id), fewest=3)
    engine.dispose()


def test_decisions_of_a_living_project_are_still_kept_by_the_triggers(scene):
    work_on(scene)
    doomed = work_on(build_scene(scene.engine))
    with writing(scene.engine) as connection:
        connection.execute(
            update(ProjectRow).where(ProjectRow.id == doomed.project.id).values(state="deleting")
        )
    living = DecisionRow.project_id == scene.project.id
    for statement in (
        delete(DecisionRow).where(living),
        delete(DecisionRow),
        update(DecisionRow).where(~living).values(note="x"),
    ):
        with pytest.raises(DBAPIError, match="append-only"), writing(scene.engine) as connection:
            connection.execute(statement)
    assert count_rows(scene.engine)["decision"] == 8


def test_keys_and_next_positions_of_a_grown_project(scene):
    keys = read_keys(scene.engine, scene.project.id)
    assert keys["train-4"] == ("train", 4)
    assert keys["test-2"] == ("test", 2)
    assert len(keys) == 9
    assert next_positions(scene.engine, scene.project.id) == {"train": 6, "test": 3}
    add_examples(scene.engine, scene.project.id, [NewExample("new", "train", 6)])
    assert next_positions(scene.engine, scene.project.id) == {"train": 7, "test": 3}
    assert fetch_page(scene.engine, scene.run.id).total == 6  # until it is scored again


def test_the_names_of_deleted_projects_are_no_ones_folder(scene):
    with pytest.raises(InputError):
        create_project(
            scene.engine, slug=f"pets#{os.getpid()}", title="T", kind="text", classes=CLASSES
        )
