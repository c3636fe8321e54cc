"""Which run of a project its pages show."""

from __future__ import annotations

import pytest

from relabel.db.queue import fetch_page
from relabel.db.runs import current_run, list_runs, make_current
from relabel.errors import NotFoundError
from tests.relabel.db.builders import build_scene, score


def test_an_earlier_run_is_shown_again_and_decisions_stay(engine):
    scene = build_scene(engine)
    scene.decide(scene.by_rank(1), "exclude")
    later = score(engine, scene.project, 6, 3, key="second")
    assert [run.key for run in list_runs(engine, scene.project.id)] == ["second", "first"]
    assert current_run(engine, scene.project.id).id == later.id
    assert make_current(engine, scene.project.id, scene.run.id).key == "first"
    assert current_run(engine, scene.project.id).id == scene.run.id
    rows = fetch_page(engine, scene.run.id).rows
    assert [row.example_id for row in rows if row.status == "excluded"] == [scene.by_rank(1)]


@pytest.mark.sqlite_only
def test_a_run_of_another_project_is_refused(engine):
    scene, other = build_scene(engine), build_scene(engine)
    with pytest.raises(NotFoundError, match="another project"):
        make_current(engine, scene.project.id, other.run.id)
    assert current_run(engine, scene.project.id).id == scene.run.id


@pytest.mark.sqlite_only
def test_an_unknown_run_is_told(engine):
    scene = build_scene(engine)
    with pytest.raises(NotFoundError, match="no run with id 999"):
        make_current(engine, scene.project.id, 999)
