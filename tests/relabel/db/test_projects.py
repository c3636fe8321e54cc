"""Projects, their examples and their runs."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import func, select

from relabel.db.engine import reading
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project, get_project, get_project_by_id, list_projects
from relabel.db.queue import fetch_page
from relabel.db.registration import register_run
from relabel.db.runs import current_run, get_run
from relabel.db.schema import ExampleRow, RunRow, ScoreRow
from relabel.errors import NotFoundError
from tests.relabel.db.builders import CLASSES, build_scene, score
from tracin_core.errors import InputError

GOOD = NewExample(key="a", split="train", position=0, given_label=0, text="one")


@pytest.fixture
def project(engine):
    return create_project(engine, slug="pets", title="Pets", kind="text", classes=CLASSES)


def count(engine, table):
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(table))


def test_a_project_is_found_as_it_was_created(engine):
    made = create_project(
        engine,
        slug="pets",
        title="Häustiere 🐈",
        kind="image",
        classes=["cat", "dog"],
        description="D",
    )
    assert (made.slug, made.title, made.kind, made.description) == (
        "pets",
        "Häustiere 🐈",
        "image",
        "D",
    )
    assert made.classes == ("cat", "dog")
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)
    assert get_project(engine, "pets") == get_project_by_id(engine, made.id) == made
    assert list_projects(engine) == [made]


def test_an_unknown_project_is_told_with_the_known_ones(engine, project):
    with pytest.raises(NotFoundError, match=r"'Pets; DROP TABLE example'.*one of: pets"):
        get_project(engine, "Pets; DROP TABLE example")
    with pytest.raises(NotFoundError):
        get_project_by_id(engine, 999)


def test_a_slug_is_taken_once(engine, project):
    with pytest.raises(InputError, match="exists already"):
        create_project(engine, slug="pets", title="Again", kind="text", classes=CLASSES)


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "wrong",
    [
        {"slug": ""},
        {"slug": "../up"},
        {"slug": "Upper"},
        {"slug": "x" * 65},
        {"slug": "pets\n"},
        {"kind": "sound"},
        {"classes": ()},
        {"classes": ("one",)},
        {"classes": ("one", "one")},
        {"classes": ("one", "")},
        {"classes": ("one", "nul\x00")},
    ],
)
def test_an_impossible_project_is_refused(engine, wrong):
    values = {"slug": "pets", "title": "Pets", "kind": "text", "classes": CLASSES, **wrong}
    with pytest.raises(InputError):
        create_project(engine, **values)
    assert list_projects(engine) == []


def test_examples_come_from_a_generator_in_chunks(engine, project):
    many = (replace(GOOD, key=f"k{position}", position=position) for position in range(5003))
    assert add_examples(engine, project.id, many) == 5003
    assert count(engine, ExampleRow) == 5003


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "wrong",
    [
        {"key": ""},
        {"key": "nul\x00"},
        {"split": "validation"},
        {"position": -1},
        {"given_label": 3},
        {"given_label": -1},
        {"text": "half a pair \ud800"},
        {"media_path": "/etc/passwd"},
        {"media_path": "../up.png"},
        {"media_path": "a/../../up.png"},
        {"media_path": "a\\b.png"},
        {"media_path": "C:/b.png"},
        {"media_path": ""},
        {"media_path": "a//b.png"},
    ],
)
def test_one_impossible_example_keeps_all_out(engine, project, wrong):
    examples = [GOOD, replace(GOOD, **{"key": "b", "position": 1, **wrong})]
    with pytest.raises(InputError):
        add_examples(engine, project.id, examples)
    assert count(engine, ExampleRow) == 0


@pytest.mark.parametrize(
    ("second", "told"), [({"position": 1}, "key is taken"), ({"key": "b"}, "position in a split")]
)
def test_keys_and_positions_are_taken_once(engine, project, second, told):
    with pytest.raises(InputError, match=told):
        add_examples(engine, project.id, [GOOD, replace(GOOD, **second)])
    assert count(engine, ExampleRow) == 0


def test_examples_need_a_project(engine):
    with pytest.raises(NotFoundError):
        add_examples(engine, 7, [GOOD])


def test_a_run_is_found_as_it_was_registered(scene):
    run = scene.run
    assert current_run(scene.engine, scene.project.id) == get_run(scene.engine, run.id) == run
    assert run.config == {"model": {"name": "small"}}
    assert (run.signals, run.num_ranked) == (("self_influence", "mean_loss"), 6)
    assert [one["step"] for one in run.checkpoints] == [1, 2]
    assert run.checkpoints[0]["learning_rate"] == 0.1
    assert run.checkpoints[1]["train_loss"] is None  # was not a number


@pytest.mark.sqlite_only
def test_a_project_has_no_run_at_first(engine, project):
    assert current_run(engine, project.id) is None
    with pytest.raises(NotFoundError):
        get_run(engine, 1)


def test_the_newest_run_is_the_current_one_and_the_old_one_stays(scene):
    second = score(scene.engine, scene.project, 6, 3, key="second")
    assert current_run(scene.engine, scene.project.id) == second
    assert get_run(scene.engine, scene.run.id) == scene.run
    assert fetch_page(scene.engine, scene.run.id).total == 6


def test_registering_a_key_again_replaces_its_numbers_and_keeps_its_id(scene):
    score(scene.engine, scene.project, 6, 3, key="second")
    scene.decide(scene.by_rank(1), run_id=scene.run.id)
    again = score(scene.engine, scene.project, 6, 3)
    assert again.id == scene.run.id
    assert current_run(scene.engine, scene.project.id) == again
    assert count(scene.engine, ScoreRow) == 2 * 2 * 6


def test_ranks_follow_the_scores_and_equal_ones_the_positions(engine):
    scene = build_scene(engine)
    values = np.array([1.0, 3.0, 1.0, 3.0, 2.0, 1.0])
    run = register_run(
        engine,
        scene.project.id,
        key="ties",
        folder="runs/ties",
        config={},
        checkpoints=[],
        scores={"self_influence": values},
        predictions={},
    )
    rows = fetch_page(engine, run.id).rows
    assert [row.position for row in rows] == [1, 3, 4, 0, 2, 5]
    assert [row.score for row in rows] == [3, 3, 2, 1, 1, 1]
    assert [row.rank for row in rows] == [1, 2, 3, 4, 5, 6]


def register(scene, **wrong):
    values = {
        "key": "wrong",
        "folder": "runs/wrong",
        "config": {},
        "checkpoints": [],
        "scores": {"self_influence": np.arange(6.0)},
        "predictions": {"test": (np.zeros(3, int), np.ones(3), np.ones(3))},
        **wrong,
    }
    return register_run(scene.engine, scene.project.id, **values)


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"scores": {"a": np.arange(5.0)}}, "'a' has 5 values. Expected 6"),
        ({"scores": {"a": np.zeros((6, 2))}}, "shape"),
        ({"scores": {"a": [0, 1, math.nan, 3, 4, math.inf]}}, r"nan at position 2 \(2 such"),
        ({"predictions": {"test": (np.zeros(2), np.zeros(2), np.zeros(2))}}, "has 2 values"),
        ({"predictions": {"test": (np.zeros(3), np.full(3, np.nan), np.zeros(3))}}, "nan at"),
        ({"config": {"rate": math.nan}}, "no JSON"),
        ({"config": {"path": object()}}, "no JSON"),
        ({"folder": "../elsewhere"}, "inside the project's folder"),
        ({"folder": "/tmp/runs"}, "inside the project's folder"),  # noqa: S108 - refused
    ],
)
def test_an_impossible_run_leaves_the_current_one(scene, wrong, told):
    with pytest.raises(InputError, match=told):
        register(scene, **wrong)
    assert current_run(scene.engine, scene.project.id) == scene.run
    assert count(scene.engine, RunRow) == 1


def test_a_run_needs_a_project_and_positions_without_gaps(engine, project):
    values = {"key": "r", "folder": "runs/r", "config": {}, "checkpoints": [], "predictions": {}}
    with pytest.raises(NotFoundError):
        register_run(engine, 99, scores={}, **values)
    add_examples(engine, project.id, [replace(GOOD, position=4)])
    with pytest.raises(InputError, match="positions up to 4"):
        register_run(engine, project.id, scores={}, **values)
