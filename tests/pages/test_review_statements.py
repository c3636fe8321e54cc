"""A press on the Review page asks the database little, however much the page shows.

Counted are all statements from the press to the end of the page's whole run: SELECT, INSERT and
UPDATE. What opens and closes a transaction (BEGIN, COMMIT, SAVEPOINT) and PRAGMAs are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from streamlit.testing.v1 import AppTest

from relabel.db.engine import open_database
from relabel.db.history import fetch_history
from relabel.db.projects import get_project
from relabel.db.queue import next_suspect
from relabel.db.runs import current_run
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace
from tests.relabel.conftest import new_postgresql_database, postgresql_server  # noqa: F401
from ui.session import get_engine

# What a press may ask; 57 were asked when every neighbour came with its scores.
MOST = 24
_NO_STATEMENTS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA")


@contextmanager
def recorded_statements() -> Iterator[list[str]]:
    """Collect the statements that any engine of this process sends inside the block."""
    seen: list[str] = []

    def look(connection, cursor, statement, parameters, context, executemany) -> None:
        if not statement.lstrip().upper().startswith(_NO_STATEMENTS):
            seen.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def press(app: AppTest, key: str) -> list[str]:
    """Press a button; return the statements of the whole run that it causes."""
    with recorded_statements() as seen:
        app.button(key=key).click().run()
    assert not app.exception
    return seen


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def reviewed_engine(
    request: pytest.FixtureRequest,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Engine]:
    """The digits on SQLite, or brought to PostgreSQL by a backup, as the app will open them."""
    engine = open_database(workspace.database_url)
    if request.param == "sqlite":
        yield engine
        engine.dispose()
        return
    path = backup_project(engine, workspace, "digits", tmp_path / "digits.zip")
    engine.dispose()
    with new_postgresql_database(request.getfixturevalue("postgresql_server")) as url:
        monkeypatch.setenv("TRACIN_WORKSPACE", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("TRACIN_DATABASE_URL", url)
        elsewhere = Workspace(root=tmp_path / "elsewhere", database_url=url)
        elsewhere.prepare()
        engine = open_database(url)
        restore_project(engine, elsewhere, path)
        yield engine
        get_engine().dispose()  # the app's own, while it is known
        engine.dispose()


def test_a_press_asks_the_database_little(
    open_app: Callable[..., AppTest], reviewed_engine: Engine
) -> None:
    engine = reviewed_engine
    project = get_project(engine, "digits")
    run = current_run(engine, project.id)
    assert run is not None
    app = open_app("review", project="digits")
    counts = {}
    for action in ("keep", "exclude", "skip", "class"):
        suspect = next_suspect(engine, run.id)
        assert suspect is not None
        name = f"class-{(suspect.given_label + 1) % 10}" if action == "class" else action
        statements = press(app, f"{name}-{suspect.example_id}-0")
        counts[action] = len(statements)
        # The ranking's own; nobody reads scores of the evidence.
        assert len([one for one in statements if "score.value" in one]) == 1
    newest = fetch_history(engine, project.id).rows[0]
    counts["undo"] = len(press(app, f"undo-{newest.id}"))
    assert max(counts.values()) <= MOST, counts
    made = [row.action for row in reversed(fetch_history(engine, project.id).rows)]
    assert made == ["keep", "exclude", "skip", "relabel", "undo"]
