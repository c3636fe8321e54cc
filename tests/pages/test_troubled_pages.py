"""Pages on damaged runs, on read-only disks, and beside deletions that were cut off."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import streamlit as st

from relabel.db.engine import open_database
from relabel.db.examples import get_example
from relabel.db.projects import hide_project, list_hidden_projects
from relabel.db.runs import current_run
from relabel.workspace import Workspace
from tests.full_disks import small_disk
from tests.relabel.db.builders import build_scene
from ui.session import forget_engines


@pytest.fixture
def workspace(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TRACIN_WORKSPACE", str(place.root))
    return place


@pytest.fixture
def scene(engine):
    return build_scene(engine)


def plain(items) -> str:
    return "\n".join(str(item.value) for item in items).replace("\\", "")


@pytest.mark.parametrize("error", [IndexError("index 99 is out of bounds"), SyntaxError("header")])
def test_decisions_go_on_without_evidence_whatever_is_wrong_with_it(
    open_review, scene, monkeypatch, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr("ui.inspect.evidence.get_evidence", fail)
    example_id = scene.by_rank(1)
    screen = open_review(project=scene.project.slug)
    app = screen.app
    assert type(error).__name__ in plain(app.error)
    assert plain(app.error).count(type(error).__name__) == 1  # said once
    assert "Decisions can be made without it" in plain(app.caption)
    screen.press("keep")
    assert get_example(scene.engine, example_id, None).status == "kept"


def test_a_run_whose_files_are_gone_is_reviewed_without_them(open_review, scene):
    screen = open_review(project=scene.project.slug)
    assert "is damaged" in plain(screen.app.error)
    screen.press("exclude")
    assert get_example(scene.engine, scene.by_rank(1), None).status == "excluded"


def test_a_deletion_that_was_cut_off_is_shown_and_gone_on_with(open_app, engine, scene, workspace):
    slug = scene.project.slug
    folder = workspace.project_folder(slug)
    folder.mkdir(parents=True)
    (folder / "vectors.bin").write_bytes(bytes(3_000_000))
    hide_project(engine, scene.project.id)
    folder.rename(folder.with_name(f".removed-{slug}-0"))
    app = open_app("projects", show="list")
    assert not app.exception
    assert f"“{slug}” is being deleted, or its deletion was cut off: 3 MB" in plain(app.warning)
    app.button(key=f"finish-{slug}").click().run()
    assert not app.exception
    assert not app.warning
    assert list_hidden_projects(engine) == []
    assert list((workspace.root / "projects").iterdir()) == []


def test_a_read_only_workspace_is_looked_at_and_decisions_are_refused(
    place, tmp_path: Path, monkeypatch, open_app, open_review
):
    engine = open_database(place.database_url)
    scene = build_scene(engine)
    engine.dispose()
    with small_disk(tmp_path / "disk", "16m") as disk:
        shutil.copy(place.root / "tracin.db", disk / "tracin.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        monkeypatch.setenv("TRACIN_WORKSPACE", str(disk))
        for page in ("overview", "queue", "review", "history", "runs", "projects"):
            app = open_app(page, project=scene.project.slug)
            assert not app.exception, page
            assert "can only be read here" in plain(app.sidebar.warning), page
        outcome = open_review(project=scene.project.slug).press("keep")
        assert "Not recorded." in outcome["message"]
        assert "read-only for you" in outcome["message"]
        looking = open_database(f"sqlite:///{disk / 'tracin.db'}", to_look=True)
        assert get_example(looking, scene.by_rank(1), None).status == "pending"
        assert current_run(looking, scene.project.id) is not None
        looking.dispose()
        st.cache_resource.clear()
        forget_engines()
