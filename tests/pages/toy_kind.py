"""Review with a kind of decision that the program does not have; run in a process of its own.

A kind is known from the start, as the table's entries are: it is added before anything reads them.
"""

# ruff: noqa: E402 - the order is what this is about
from __future__ import annotations

import os
import sys
from pathlib import Path

from relabel.db.decisions.kinds import DECISION_KINDS, UNDO, DecisionKind

TOY = DecisionKind(
    code="crop",
    state="cropped",
    key="b",
    title="Bad crop",
    state_title="Badly cropped",
    effect="mark",
    told="called it badly cropped",
    recorded="{given} called badly cropped",
)
DECISION_KINDS.insert(DECISION_KINDS.index(UNDO), TOY)

from sqlalchemy import Engine, create_engine, text
from streamlit.testing.v1 import AppTest

from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import describe
from relabel.db.engine import migrations_folder, open_database
from relabel.db.queue import QueueFilter, fetch_page
from relabel.db.schema import SCHEMA_REVISION, Base
from relabel.db.stats import review_progress
from relabel.export import export_labels
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.workspace import REPOSITORY_ROOT, resolve_workspace
from tests.pages.conftest import PAGE_TIMEOUT, ROUTER
from tests.pages.review_screen import ReviewScreen
from tests.relabel.db.builders import build_scene


def make_database(url: str) -> Engine:
    """Make a database from the declared tables, as the migration of a new kind would leave it."""
    engine = create_engine(url)
    views: dict[str, str] = {}
    exec(  # noqa: S102 - the migration's own text, as its name begins with a digit
        (migrations_folder() / "versions/0002_values_and_own_data.py").read_text("utf-8"), views
    )
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        connection.execute(text(views["EFFECTIVE_DECISION"]))
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(
            text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": SCHEMA_REVISION}
        )
    engine.dispose()
    return open_database(url)


def open_page(name: str, project: str) -> AppTest:
    app = AppTest.from_file(str(ROUTER), default_timeout=PAGE_TIMEOUT)
    app.query_params["project"] = project
    app.switch_page(str(REPOSITORY_ROOT / "pages" / f"{name}.py"))
    app.run()
    assert not app.exception
    return app


def main(root: Path) -> None:
    os.environ["TRACIN_WORKSPACE"] = str(root)
    os.environ["TRACIN_REVIEWER"] = "tester"
    workspace = resolve_workspace()
    workspace.prepare()
    engine = make_database(workspace.database_url)
    scene = build_scene(engine)
    slug, first = scene.project.slug, scene.by_rank(1)

    screen = ReviewScreen(open_page("review", slug))
    choice = screen.choices["crop"]
    assert (choice["label"], choice["key"]) == ("Bad crop", "b")
    assert "crop" in screen.given["slots"]
    assert "b" in screen.given["decisionKeys"]
    assert "B bad crop, U undo" in screen.words()
    outcome = screen.press("crop")
    assert "called badly cropped" in outcome["message"], outcome
    assert "1 of 6 reviewed" in screen.words()

    (event,) = fetch_history(engine, scene.project.id).rows
    assert (event.example_id, event.action, event.status) == (first, "crop", "cropped")
    assert "called it badly cropped" in describe(event, scene.project.classes)
    listed = open_page("history", slug)
    assert "Bad crop" in listed.multiselect(key="actions").options
    assert fetch_history(engine, scene.project.id, actions=("crop",)).total == 1

    lines = export_labels(engine, scene.project.id, format="csv").decode("utf-8-sig").splitlines()
    (line,) = [one for one in lines if one.startswith("train-5,")]
    assert ",cropped," in line, line
    assert ",crop," in line, line
    assert len(lines) == 10
    reviewed = export_labels(engine, scene.project.id, format="csv", reviewed_only=True)
    assert len(reviewed.decode("utf-8-sig").splitlines()) == 2

    progress = review_progress(engine, scene.project.id)
    assert (progress.by_status["cropped"], progress.reviewed) == (1, 1)
    page = fetch_page(engine, scene.run.id, filter=QueueFilter(status="reviewed"))
    assert [row.status for row in page.rows] == ["cropped"]

    path = backup_project(engine, workspace, slug, root / "toy.zip")
    again = restore_project(engine, workspace, path, slug="again")
    assert [one.action for one in fetch_history(engine, again.id).rows] == ["crop"]
    engine.dispose()
    print("the toy kind is everywhere")


main(Path(sys.argv[1]))
