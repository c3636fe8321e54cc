"""A database of the first revision, with work in it, comes to the newest one whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from relabel.db.bulk import settle_entries, stream_answers
from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision, undo_decision
from relabel.db.engine import migrations_folder, open_database, writing
from relabel.db.examples import NewExample, add_examples, get_example
from relabel.db.jobs import create_job, list_jobs
from relabel.db.projects import finish_deletions, get_project, list_hidden_projects, list_projects
from relabel.db.queue import QueueFilter, fetch_page
from relabel.db.registration import register_run
from relabel.db.runs import current_run, get_run
from relabel.db.schema import SCHEMA_REVISION, Base
from relabel.db.stats import review_progress
from relabel.errors import JobError
from tests.relabel.conftest import new_postgresql_database

# What the first version of the program wrote: two projects; two runs of one, of which the second
# is shown; five events of three examples; a finished and an active job.
CONTENT = """
INSERT INTO project VALUES
  (1, 'pets', 'Häustiere 🐈', 'text', '["cat", "dog"]', 'D', '2026-01-01 10:00:00'),
  (2, 'empty', 'Empty', 'image', '["a", "b"]', '', '2026-01-02 10:00:00');
INSERT INTO example VALUES
  (1, 1, 'a', 'train', 0, 0, 'miaow', NULL), (2, 1, 'b', 'train', 1, 1, 'woof', NULL),
  (3, 1, 'c', 'train', 2, 0, '100% "é"', NULL), (4, 1, 'd', 'test', 0, 1, 'growl', NULL);
INSERT INTO run VALUES
  (5, 1, 'old', 'runs/old', '{"n": 1}', '["self_influence"]', 3, FALSE, '2026-01-03 10:00:00'),
  (9, 1, 'new', 'runs/new', '{"n": 2}', '["self_influence", "mean_loss"]', 3, TRUE,
   '2026-01-04 10:00:00');
INSERT INTO checkpoint VALUES (9, 0, 'checkpoints/a.pt', 10, 0.5, 0.1, NULL, 0.9);
INSERT INTO score VALUES
  (5, 'self_influence', 1, 1, 3.5), (5, 'self_influence', 2, 2, 2.5),
  (5, 'self_influence', 3, 3, 1),
  (9, 'self_influence', 1, 3, 9.5), (9, 'self_influence', 2, 2, 8), (9, 'self_influence', 3, 1, 7),
  (9, 'mean_loss', 1, 2, 0.5), (9, 'mean_loss', 2, 1, 0.25), (9, 'mean_loss', 3, 3, 0.125);
INSERT INTO prediction VALUES
  (5, 1, 0, 0.5, 0.5), (9, 1, 1, 0.75, 0.25), (9, 2, 1, 0.6, 0.6), (9, 3, 1, 0.9, 0.1),
  (9, 4, 1, 0.8, 0.8);
INSERT INTO reviewer VALUES (1, 'ann', 'typed', '2026-01-05 10:00:00');
INSERT INTO decision (id, project_id, example_id, version, reviewer_id, action, given_label,
  new_label, note, undoes, created_at, seconds_spent, source, rank, score, run_id) VALUES
  (1, 1, 1, 1, 1, 'relabel', 0, 1, 'ears 👂', NULL, '2026-01-05 10:00:01.5', 2.5, 'queue', 3, 7, 9),
  (2, 1, 2, 1, 1, 'exclude', 1, NULL, '', NULL, '2026-01-05 10:00:02', 1, 'queue', 2, 8, 9),
  (3, 1, 2, 2, 1, 'undo', 1, NULL, '', 2, '2026-01-05 10:00:03', NULL, 'history', NULL, NULL, 9),
  (4, 1, 4, 1, 1, 'keep', 1, NULL, '', NULL, '2026-01-05 10:00:04', NULL, 'inspect', NULL, NULL, 5),
  (5, 1, 2, 3, 1, 'skip', 1, NULL, '', NULL, '2026-01-05 10:00:05', NULL, 'queue', NULL, NULL, 9);
INSERT INTO job VALUES
  (1, 1, 'train', 'succeeded', 1.0, 'done', 77, 'here', NULL, FALSE, '', '2026-01-06 10:00:00',
   NULL, '2026-01-06 11:00:00'),
  (2, 1, 'score', 'running', 0.5, 'half', 78, 'here', '2026-01-06 12:00:00', FALSE, '',
   '2026-01-06 12:00:00', '2026-01-06 12:00:00', NULL)
"""
OLD_TABLES = ("project", "example", "run", "checkpoint", "score", "prediction", "reviewer", "job")


@contextmanager
def empty_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Give the URL of a database that was never migrated."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'old.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    with new_postgresql_database(server, template="template0") as url:
        yield url


def build_first_revision(url: str) -> dict[str, list[tuple]]:
    """Make a database as the first version left it; return its rows by table."""
    upgrade(url, "0001")
    engine = create_engine(make_url(url).set(drivername=driver_of(url)))
    with engine.begin() as connection:
        for statement in CONTENT.split(";\n"):
            connection.exec_driver_sql(
                statement.replace("%", "%%") if is_served(url) else statement
            )
        if is_served(url):  # as if the rows had been given their numbers by the database
            for table in ("project", "example", "run", "reviewer", "decision", "job"):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 100)"
                )
    rows = read_rows(engine, (*OLD_TABLES, "decision"))
    engine.dispose()
    return rows


def upgrade(url: str, revision: str) -> None:
    """Bring a database to a revision that need not be the newest one."""
    engine = create_engine(make_url(url).set(drivername=driver_of(url)))
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def is_served(url: str) -> bool:
    return url.startswith("postgres")


def driver_of(url: str) -> str:
    return "postgresql+psycopg" if is_served(url) else "sqlite"


def read_rows(engine: Engine, tables: tuple[str, ...]) -> dict[str, list[tuple]]:
    with engine.connect() as connection:
        return {
            table: [
                tuple(row)
                for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3"))  # noqa: S608 - our names
            ]
            for table in tables
        }


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def old(request, tmp_path):
    with empty_database(request, tmp_path) as url:
        yield url, build_first_revision(url)


@pytest.fixture
def migrated(old):
    engine = open_database(old[0])
    yield engine
    engine.dispose()


def test_every_row_is_as_it_was(old, migrated):
    rows = read_rows(migrated, (*OLD_TABLES, "decision"))
    for table, before in old[1].items():
        after = rows[table]
        assert len(after) == len(before) > 0
        width = len(before[0])
        assert [row[:width] for row in after] == before, table
    for row, before in zip(rows["decision"], old[1]["decision"], strict=True):
        assert row[: len(before)] == before
        assert not any(row[len(before) :])  # columns that came later


def test_the_tables_are_those_that_are_declared(migrated):
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    assert found == SCHEMA_REVISION


def test_the_screens_say_what_they_said(migrated):
    project = get_project(migrated, "pets")
    assert (project.title, project.task, project.settings) == ("Häustiere 🐈", "classification", {})
    run = current_run(migrated, project.id)
    assert (run.id, run.signals, run.checkpoints[0]["step"]) == (
        9,
        ("self_influence", "mean_loss"),
        10,
    )
    rows = fetch_page(migrated, run.id).rows
    assert [(row.key, row.score, row.status) for row in rows] == [
        ("c", 9.5, "pending"),
        ("b", 8.0, "skipped"),
        ("a", 7.0, "relabeled"),
    ]
    assert [row.predicted_probability for row in rows] == [0.9, 0.6, 0.75]
    assert [row.key for row in fetch_page(migrated, 5).rows] == ["a", "b", "c"]
    assert get_run(migrated, 5).config == {"n": 1}
    found = fetch_page(migrated, run.id, filter=QueueFilter(text='100% "é"')).rows
    assert [row.key for row in found] == ["c"]
    view = get_example(migrated, 1, run.id)
    assert (view.current_label, view.scores["mean_loss"].rank) == (1, 2)
    history = fetch_history(migrated, project.id).rows
    assert [(row.id, row.undone, row.undoable) for row in history] == [
        (5, False, True),
        (4, False, True),
        (3, False, False),
        (2, True, False),
        (1, False, True),
    ]
    assert history[-1].note == "ears 👂"
    assert review_progress(migrated, project.id).reviewed == 1


def test_the_work_goes_on(migrated):
    undo_decision(migrated, 1, reviewer="bob")
    made = record_decision(migrated, NewDecision(1, 2, "bob", "relabel", new_label=1))
    assert made.version == 3
    assert [job.project_slug for job in list_jobs(migrated)] == ["pets", "pets"]
    with pytest.raises(JobError, match="score is running"):
        create_job(migrated, "pets", "train")
    assert create_job(migrated, "empty", "train").project_id == 2
    again = register_run(
        migrated,
        1,
        key="new",
        folder="runs/new",
        config={},
        checkpoints=[],
        scores={"self_influence": [1, 2, 3]},
        predictions={},
    )
    assert again.id == 9
    assert [row.key for row in fetch_page(migrated, 9).rows] == ["c", "b", "a"]
    assert [row.key for row in fetch_page(migrated, 5).rows] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decision SET note = 'x'",
        "DELETE FROM decision",
        "INSERT INTO decision SELECT * FROM decision",
        "UPDATE decision SET new_value = 1",
    ],
)
def test_the_events_are_guarded_as_before(migrated, statement):
    with pytest.raises(DBAPIError, match=r"append-only|unique"), writing(migrated) as connection:
        connection.execute(text(statement))
    assert len(read_rows(migrated, ("decision",))["decision"]) == 5


def test_the_rules_of_the_jobs_still_hold(migrated):
    for wrong in ("state = 'idle'", "progress = 2", "project_slug = NULL"):
        with pytest.raises(IntegrityError), writing(migrated) as connection:
            connection.execute(text(f"UPDATE job SET {wrong}"))  # noqa: S608 - our own words


def test_examples_of_the_second_revision_have_no_place_and_new_ones_can(old):
    url = old[0]
    upgrade(url, "0002")
    engine = open_database(url)
    before = [row[:10] for row in read_rows(engine, ("example",))["example"]]
    new = NewExample("e", "train", 3, 1, text="purr", source_place="pets.csv, row 7")
    add_examples(engine, 1, [new])
    rows = read_rows(engine, ("example",))["example"]
    assert [row[:10] for row in rows[:-1]] == before
    assert [row[-1] for row in rows] == [None] * 4 + ["pets.csv, row 7"]
    engine.dispose()


# As the third revision hid projects: the suffix said what was being done.
HIDDEN = """
INSERT INTO project (id, slug, title, kind, classes, description, created_at, deleting) VALUES
  (11, 'pets#11', 'Gone', 'text', '["a", "b"]', '', '2026-01-07 10:00:00', TRUE),
  (12, 'pets#entering-0a1b2c3d', 'Came', 'text', '["a", "b"]', '', '2026-01-07 10:00:00', TRUE),
  (13, 'empty#grown-2-0a1b2c3d', 'Grew', 'text', '["a", "b"]', '', '2026-01-07 10:00:00', TRUE),
  (14, 'back#restoring-0a1b2c3d', 'Back', 'text', '["a", "b"]', '', '2026-01-07 10:00:00', TRUE),
  (15, 'odd#7', 'Odd', 'text', '["a", "b"]', '', '2026-01-07 10:00:00', TRUE);
INSERT INTO example (id, project_id, key, split, position, given_label, text) VALUES
  (21, 11, 'a', 'train', 0, 0, 'x'), (23, 13, 'b', 'train', 0, 1, 'y');
INSERT INTO decision (id, project_id, example_id, version, reviewer_id, action, given_label,
  note, created_at, source) VALUES
  (31, 11, 21, 1, 1, 'keep', 0, '', '2026-01-07 11:00:00', 'queue')
"""


@pytest.fixture
def migrated_hidden(old):
    """A database of the third revision with hidden projects of every sort, at the newest one."""
    url = old[0]
    upgrade(url, "0003")
    engine = create_engine(make_url(url).set(drivername=driver_of(url)))
    with engine.begin() as connection:
        for statement in HIDDEN.split(";\n"):
            connection.exec_driver_sql(statement)
    engine.dispose()
    engine = open_database(url)
    yield engine
    engine.dispose()


def test_hidden_projects_of_the_third_revision_have_their_names_and_states(migrated_hidden):
    assert [tuple(one) for one in list_hidden_projects(migrated_hidden)] == [
        (11, "pets", "deleting", None),
        (12, "pets", "entering", None),
        (13, "empty", "growing", 2),
        (14, "back", "restoring", None),
        (15, "odd", "deleting", None),
    ]
    assert [one.slug for one in list_projects(migrated_hidden)] == ["pets", "empty"]
    assert get_project(migrated_hidden, "pets").id == 1


def test_what_was_hidden_before_is_finished_after(migrated_hidden):
    engine = migrated_hidden
    settle_entries(engine, "pets")
    settle_entries(engine, "empty")
    assert [one.id for one in list_hidden_projects(engine)] == [11, 14, 15]
    assert [row.key for row in stream_answers(engine, 2)] == ["b"]
    assert finish_deletions(engine) == 2
    assert [one.id for one in list_hidden_projects(engine)] == [14]
    assert len(read_rows(engine, ("decision",))["decision"]) == 5


def test_names_are_unique_among_shown_projects_only(migrated_hidden):
    change = "UPDATE project SET state = 'shown' WHERE id = {}"
    for project_id in (11, 12):
        with pytest.raises(IntegrityError), writing(migrated_hidden) as connection:
            connection.execute(text(change.format(project_id)))
    with writing(migrated_hidden) as connection:
        connection.execute(text(change.format(14)))
    assert get_project(migrated_hidden, "back").id == 14
    with pytest.raises(IntegrityError), writing(migrated_hidden) as connection:
        connection.execute(text("UPDATE project SET state = 'asleep' WHERE id = 1"))


def test_decisions_of_shown_projects_alone_are_guarded_after_the_migration(migrated_hidden):
    with writing(migrated_hidden) as connection:
        connection.execute(text("DELETE FROM decision WHERE project_id = 11"))
    with pytest.raises(DBAPIError, match="append-only"), writing(migrated_hidden) as connection:
        connection.execute(text("DELETE FROM decision WHERE project_id = 1"))
    with migrated_hidden.connect() as connection:
        if migrated_hidden.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        with pytest.raises(IntegrityError):
            connection.execute(text("DELETE FROM project WHERE id = 1"))


def test_a_migration_that_fails_leaves_the_old_database(tmp_path, monkeypatch):
    path = tmp_path / "old.db"
    before = build_first_revision(f"sqlite:///{path}")
    shutil.copy(path, tmp_path / "copy.db")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:  # in the way of a table that the revision makes
        connection.exec_driver_sql("CREATE TABLE old_prediction (id INTEGER)")
    with pytest.raises(Exception, match="tables of another program"):
        open_database(f"sqlite:///{path}")
    assert read_rows(engine, (*OLD_TABLES, "decision")) == before
    engine.dispose()


SPELLINGS = """
INSERT INTO reviewer VALUES
  (2, 'Ann', 'typed', '2026-01-06 10:00:00'), (3, 'ann', 'account', '2026-01-06 10:00:00'),
  (4, 'Bob  B', 'typed', '2026-01-06 10:00:00'), (5, 'bob b', 'typed', '2026-01-06 10:00:00'),
  (6, 'Straße', 'typed', '2026-01-06 10:00:00');
INSERT INTO decision (id, project_id, example_id, version, reviewer_id, action, given_label,
  note, created_at, source) VALUES
  (6, 1, 3, 1, 2, 'keep', 0, 'n', '2026-01-07 11:00:00', 'queue'),
  (7, 1, 3, 2, 5, 'keep', 0, '', '2026-01-07 11:00:00', 'queue'),
  (8, 1, 3, 3, 3, 'keep', 0, '', '2026-01-07 11:00:00', 'queue')
"""


def test_names_that_differ_in_capitals_alone_become_the_oldest(old):
    url = old[0]
    engine = create_engine(make_url(url).set(drivername=driver_of(url)))
    with engine.begin() as connection:
        for statement in SPELLINGS.split(";\n"):
            connection.exec_driver_sql(statement)
    engine.dispose()
    engine = open_database(url)
    with engine.connect() as connection:
        names = connection.execute(
            text("SELECT id, name, name_key, role FROM reviewer ORDER BY id")
        ).all()
        whose = connection.execute(
            text("SELECT id, reviewer_id, note FROM decision WHERE id > 5 ORDER BY id")
        ).all()
    assert [tuple(row) for row in names] == [
        (1, "ann", "ann", "reviewer"),
        (3, "ann", "ann", "reviewer"),
        (4, "Bob  B", "bob b", "reviewer"),
        (6, "Straße", "strasse", "reviewer"),
    ]
    assert [tuple(row) for row in whose] == [(6, 1, "n"), (7, 4, ""), (8, 3, "")]
    with pytest.raises(DBAPIError, match="append-only"), writing(engine) as connection:
        connection.execute(text("UPDATE decision SET note = 'x'"))
    engine.dispose()
