"""What the pages say where something is missing, and what a person can do next."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from relabel.db.decisions.history import fetch_history
from relabel.db.projects import archive_project, get_project
from relabel.workspace import Workspace, resolve_workspace
from tests.conftest import copy_workspace


def said(app: AppTest) -> str:
    """Return all that stands on the page as texts, as a person reads it."""
    parts = (app.caption, app.info, app.warning, app.error)
    return "\n".join(str(item.value) for part in parts for item in part).replace("\\", "")


class TestAnArchivedProject:
    @pytest.mark.parametrize("page", ["queue", "review", "projects"])
    def test_its_address_says_how_to_bring_it_back(self, open_app, engine, page):
        archive_project(engine, get_project(engine, "docs").id)
        app = open_app(page, project="docs")
        assert not app.exception
        assert "“docs” is archived, so “Handwritten digits” is shown" in said(app)
        assert "under Manage" in said(app)

    def test_archived_while_its_page_is_open_another_one_is_shown(self, open_app, engine):
        app = open_app("queue", project="docs")
        archive_project(engine, get_project(engine, "docs").id)
        app = app.run()
        assert not app.exception
        assert app.session_state["project"] == "digits"
        assert "is archived" in said(app)


class TestARunThatIsGone:
    """Its folder was deleted from the disk while the pages are open."""

    @pytest.fixture
    def workspace(
        self, built_demos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Workspace:
        root = copy_workspace(built_demos, tmp_path / "workspace")
        (root / "projects").unlink()  # a link to the files of all tests
        for name in ("digits", "docs"):
            shutil.copytree(built_demos / "projects" / name, root / "projects" / name)
        monkeypatch.setenv("TRACIN_WORKSPACE", str(root))
        return resolve_workspace()

    @pytest.mark.parametrize("page", ["overview", "inspect", "review"])
    def test_it_is_said_once_with_the_next_step(self, open_app, workspace, page):
        app = open_app(page, project="digits")
        assert not app.error
        shutil.rmtree(workspace.project_folder("digits") / "runs")
        app = app.run()
        assert not app.exception
        assert len(app.error) == 1
        assert "is damaged" in said(app)
        assert [link.proto.label for link in app.get("page_link")] == ["Score again on Runs"]

    def test_the_queue_still_lists_its_suspects(self, open_app, workspace):
        shutil.rmtree(workspace.project_folder("digits") / "runs")
        app = open_app("queue", project="digits")
        assert not app.exception
        assert not app.error

    def test_decisions_are_still_made(self, open_review, workspace, engine):
        shutil.rmtree(workspace.project_folder("digits") / "runs")
        project = get_project(engine, "digits")
        open_review(project="digits").press("keep")
        assert [event.action for event in fetch_history(engine, project.id).rows] == ["keep"]


class TestADatabaseThatIsLocked:
    """Another program holds it for writing; it is waited for, for five seconds."""

    @pytest.mark.slow
    def test_a_decision_is_refused_in_words_and_can_be_made_afterwards(
        self, open_review, workspace, engine
    ):
        project = get_project(engine, "digits")
        screen = open_review(project="digits")
        other = sqlite3.connect(workspace.root / "tracin.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            outcome = screen.press("keep")
        finally:
            other.close()
        assert "Not recorded" in outcome["message"]
        assert "is locked by another process" in outcome["message"]
        assert fetch_history(engine, project.id).rows == []
        screen.press("keep")
        assert [event.action for event in fetch_history(engine, project.id).rows] == ["keep"]


def test_a_history_without_events_leads_to_the_review(open_app):
    app = open_app("history", project="digits")
    assert "Nothing has been decided yet" in said(app)
    app = app.button(key="to-review").click().run()
    assert app.title[0].value == "Review"


def test_a_history_filtered_empty_says_so(open_app):
    app = open_app("history", project="digits", **{"note-contains": "nothing says this"})
    assert "Remove a filter" in said(app)
