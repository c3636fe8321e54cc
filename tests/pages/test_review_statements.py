"""A press on the Review page asks the database little, however much the page shows.

Counted are all statements from the press until the next suspects are there: SELECT, INSERT and
UPDATE. What opens and closes a transaction (BEGIN, COMMIT, SAVEPOINT) and PRAGMAs are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.projects.backup import backup_project
from relabel.projects.restore import restore_project
from relabel.workspace import Workspace
from tests.pages.review_screen import ReviewScreen
from tests.relabel.conftest import new_postgresql_database, postgresql_server  # noqa: F401
from ui.session import get_engine

# What a press may ask; 57 were asked when every neighbour came with its scores, and 24 by the run
# of the page that each press took. One reads what stood before, for the audit; three hold what is
# shown for whoever is shown it; a screen with ten suspects ahead asks for more with every fifth
# press, and here with each.
MOST = 25
# Once in ten decisions it is worked out anew how far the review is from where it may stop.
STANDING = 4
ENTERING = 2  # of a reviewer, once
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
    open_review: Callable[..., ReviewScreen], reviewed_engine: Engine
) -> None:
    engine = reviewed_engine
    project = get_project(engine, "digits")
    screen = open_review(project="digits")
    counts = {}
    for action in ("keep", "exclude", "skip", "class"):
        label = (screen.sheet["given"] + 1) % 10
        with recorded_statements() as seen:
            outcome = screen.press(f"class-{label}" if action == "class" else action)
        assert outcome["recorded"], outcome
        counts[action] = len(seen)
        # The ranking's own; nobody reads scores of the evidence.
        assert len([one for one in seen if "score.value" in one]) == 1
    with recorded_statements() as seen:
        assert screen.undo()["recorded"]
    # The example comes back with all that is shown of it.
    assert len(seen) <= MOST + 12
    assert max(counts.values()) <= MOST + STANDING + ENTERING, counts
    assert sorted(counts.values())[-2] <= MOST, counts
    made = [row.action for row in reversed(fetch_history(engine, project.id).rows)]
    assert made == ["keep", "exclude", "skip", "relabel", "undo"]
