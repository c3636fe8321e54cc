"""What a backup brings back, from either database into either."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import pytest
from sqlalchemy import Engine

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import undo_decision
from relabel.db.engine import open_database
from relabel.db.project_rules import Project
from relabel.db.projects import archive_project, get_project, list_projects
from relabel.db.queue import fetch_page
from relabel.db.runs import current_run
from relabel.db.stats import review_progress
from relabel.export import export_labels
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace
from tests.relabel.db.builders import Scene, build_homes, build_scene, score

# What is another number in another database.
_IDS = {
    *("id", "example_id", "project_id", "run_id", "reviewer_id", "scoring_id"),
    *("undoes", "undone_by"),
}


@pytest.fixture
def other(sqlite_template, tmp_path):
    """A SQLite database in which other ids are taken already."""
    path = tmp_path / "other.db"
    shutil.copy(sqlite_template, path)
    engine = open_database(f"sqlite:///{path}")
    for _ in range(2):
        scene = build_scene(engine, 40)
        scene.decide(scene.by_rank(1), reviewer="bob")
    yield engine
    engine.dispose()


def review(scene: Scene, correction: dict[str, Any]) -> None:
    """Decide, correct, take back, and decide again, in turns about several examples."""
    first, second = scene.by_rank(1), scene.by_rank(2)
    scene.decide(first, "relabel", **correction, note="ein 🐈, <b>nicht</b>\n\u202eein Hund")
    scene.decide(second, "keep", reviewer="بوب", identity_source="oidc", seconds_spent=1.25)
    wrong = scene.decide(first, "exclude", run_id=scene.run.id, rank=1, score=5.0)
    undo_decision(scene.engine, wrong.id, reviewer="bob", note="too quick")
    scene.decide(second, "ambiguous", reviewer="bob")
    scene.decide(scene.test_ids[0], "skip")


def describe(engine: Engine, project: Project) -> dict[str, Any]:
    """Return all that a person can see of a project, without the database's own numbers."""
    history = fetch_history(engine, project.id).rows
    place = {row.id: number for number, row in enumerate(history)}
    events = [
        {name: value for name, value in asdict(row).items() if name not in _IDS}
        | {"undoes": place.get(row.undoes), "undone_by": place.get(row.undone_by)}
        for row in history
    ]
    run = current_run(engine, project.id)
    queues = {
        signal: [
            {name: value for name, value in asdict(row).items() if name not in _IDS}
            for row in fetch_page(engine, run.id, signal=signal).rows
        ]
        for signal in run.signals
    }
    return {
        "project": {k: v for k, v in asdict(project).items() if k not in {"id", "slug"}},
        "events": events,
        "progress": review_progress(engine, project.id),
        "run": {k: v for k, v in asdict(run).items() if k not in _IDS},
        "queues": queues,
        "labels": export_labels(engine, project.id, format="jsonl"),
    }


@pytest.mark.parametrize(
    ("build", "correction"),
    [(build_scene, {"new_label": 0}), (build_homes, {"new_value": -0.1})],
    ids=["labels", "numbers"],
)
@pytest.mark.parametrize("direction", ["out of this one", "into this one"])
def test_everything_comes_back_in_another_database(
    engine, other, tmp_path, build, correction, direction
):
    source, target = (engine, other) if direction == "out of this one" else (other, engine)
    scene = build(source)
    review(scene, correction)
    archive_project(source, scene.project.id)
    before = get_project(source, scene.project.slug)
    place = Workspace(tmp_path / "from", str(source.url))
    path = backup_project(source, place, before.slug, tmp_path / "project.zip")
    known = {project.slug for project in list_projects(target)}

    elsewhere = Workspace(tmp_path / "to", str(target.url))
    restored = restore_project(target, elsewhere, path, slug="again")

    seen = describe(target, restored)
    assert seen == describe(source, before)
    assert len(seen["events"]) == 6
    assert [event["undoes"] for event in seen["events"]] == [None, None, 3, None, None, None]
    assert {project.slug for project in list_projects(target)} == known
    # And the review goes on: the event below the one that was taken back is in force.
    key = next(event["key"] for event in seen["events"] if event["action"] == "relabel")
    row = next(
        row for row in fetch_history(target, restored.id).rows if row.key == key and row.undoable
    )
    assert row.action == "relabel"
    undo_decision(target, row.id, reviewer="ann")
    assert fetch_history(target, restored.id).total == 7


def test_all_runs_come_back_and_the_current_one_is_current(engine, tmp_path):
    scene = build_scene(engine)
    score(engine, scene.project, 6, 3, key="second")
    place = Workspace(tmp_path / "from", str(engine.url))
    path = backup_project(engine, place, scene.project.slug, tmp_path / "project.zip")
    restored = restore_project(engine, place, path, slug="again")
    assert current_run(engine, restored.id).key == "second"
    with engine.connect() as connection:
        count = connection.exec_driver_sql(
            f"SELECT count(*) FROM run WHERE project_id = {restored.id}"  # noqa: S608
        )
        assert count.scalar_one() == 2
