"""Opening a database: new, old, newer, broken, out of reach."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, text

from relabel.db.engine import migrations_folder, open_database, reading, writing
from relabel.db.projects import get_project, list_projects
from relabel.db.schema import SCHEMA_REVISION, Base
from relabel.errors import DatabaseError
from tests.preloaded import Preloaded
from tests.relabel.conftest import new_postgresql_database
from tests.relabel.db.builders import build_scene


def sqlite_path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_a_new_database_is_made_with_its_folder(sqlite_url):
    engine = open_database(sqlite_url)
    assert list_projects(engine) == []
    assert sqlite_path(sqlite_url).exists()
    engine.dispose()


def test_migrations_from_nothing_give_the_declared_tables(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_declared_revision_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


def test_opening_again_is_fast_and_keeps_everything(sqlite_url):
    first = open_database(sqlite_url)
    scene = build_scene(first)
    first.dispose()
    times = []
    for _ in range(5):
        started = time.process_time()
        engine = open_database(sqlite_url)
        times.append(time.process_time() - started)
        assert get_project(engine, scene.project.slug) == scene.project
        engine.dispose()
    assert min(times) < 0.05  # seconds of a processor; Alembic alone takes longer to load


def test_sqlite_is_durable_checked_and_patient(sqlite_url):
    engine = open_database(sqlite_url)
    with reading(engine) as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


def write_and_fail(engine: Engine) -> None:
    insert = "INSERT INTO reviewer (name, identity_source, created_at) VALUES (:n, 'typed', :t)"
    with writing(engine) as connection:
        connection.execute(text(insert), {"n": "ann", "t": "2026-01-01 00:00:00"})
        raise RuntimeError("on purpose")


def test_a_failed_write_leaves_nothing(engine):
    with pytest.raises(RuntimeError, match="on purpose"):
        write_and_fail(engine)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM reviewer")).scalar() == 0


def test_a_database_from_a_newer_version_is_refused_and_untouched(engine, database_url):
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"'9999'.*newer version.*Update the program"):
        open_database(database_url)
    with reading(engine) as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        )


def test_a_foreign_database_is_told_and_untouched(tmp_path):
    path = tmp_path / "foreign.db"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE job (id INTEGER)")
        foreign.commit()
    with pytest.raises(DatabaseError, match="tables of another program"):
        open_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as foreign:
        # All or nothing: the tables that come before `job` are not there either.
        assert foreign.execute("SELECT name FROM sqlite_master").fetchall() == [("job",)]


@pytest.mark.parametrize(
    "content", [b"no database at all " * 100, b"SQLite format 3\x00" + b"\xff" * 8000]
)
def test_a_damaged_file_is_named_and_untouched(tmp_path, content):
    path = tmp_path / "damaged.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"damaged\.db is damaged or is no SQLite database"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(DatabaseError, match="Found a folder"):
        open_database(f"sqlite:///{tmp_path}")


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="cannot be reached"):
        open_database(f"sqlite:///{tmp_path}/file/reviews.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(DatabaseError, match="names no file"):
        open_database(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("what is this", "cannot be read"),
        ("", "cannot be read"),
        ("mysql://localhost/labels", "Expected sqlite or postgresql"),
        ("nothing://localhost/labels", "Expected sqlite or postgresql"),
        ("postgresql+nothing://localhost/labels", "driver"),
        ("sqlite+nothing:///file.db", "driver"),
    ],
)
def test_an_impossible_url_is_explained(url, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseError, match=told):
        open_database(url)


def test_a_missing_driver_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(DatabaseError, match=r"'psycopg'.*pip install 'psycopg\[binary\]'"):
        open_database("postgresql://localhost/labels")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_an_unreachable_server_is_told_without_the_password(scheme):
    pytest.importorskip("psycopg")
    with pytest.raises(DatabaseError, match="cannot be reached") as caught:
        open_database(f"{scheme}://ann:secret@127.0.0.1:1/labels")  # nothing listens on port 1
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_database_that_the_server_lacks_is_told(postgresql_server):
    url = postgresql_server.replace("/template", "/missing")
    with pytest.raises(DatabaseError, match="does not exist"):
        open_database(url)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Work as somebody without special rights, so that permissions hold."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("part", ["file", "folder", "parent"])
def test_what_cannot_be_written_is_named(part):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        path = Path(folder) / "labels" / "reviews.db"
        if part != "parent":
            open_database(f"sqlite:///{path}").dispose()
        path.exists() and path.chmod(0o444 if part == "file" else 0o666)
        path.parent.exists() and path.parent.chmod(0o555 if part == "folder" else 0o777)
        Path(folder).chmod(0o555)
        with ordinary_user(), pytest.raises(DatabaseError, match=r"cannot be (written|reached)"):
            open_database(f"sqlite:///{path}")
        Path(folder).chmod(0o755)


def test_a_full_disk_is_told_and_nothing_is_half_written(sqlite_url):
    engine = open_database(sqlite_url)

    @event.listens_for(engine, "connect")
    def limit(connection, _record):
        # SQLite's own limit gives the same answer as a file system without space.
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine.dispose()
    with pytest.raises(DatabaseError, match="disk is full"):
        build_scene(engine, 2000)
    engine.dispose()
    with reading(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM example")).scalar() == 0
    engine.dispose()


def test_a_lock_held_too_long_is_told(sqlite_url):
    engine = open_database(sqlite_url)
    impatient = open_database(sqlite_url)

    @event.listens_for(impatient, "connect")
    def hurry(connection, _record):
        connection.execute("PRAGMA busy_timeout = 50")

    impatient.dispose()
    with writing(engine), pytest.raises(DatabaseError, match="is locked"), writing(impatient):
        pass
    engine.dispose()
    impatient.dispose()


OPEN = """
import sys
from relabel.db.engine import open_database
print("ready", flush=True)
sys.stdin.readline()
open_database(sys.argv[1]).dispose()
print("opened")
"""


def open_at_once(preloaded: Preloaded, url: str, count: int = 3) -> list[tuple[str, str]]:
    """Open a database in several processes at the same moment; return their outputs."""
    processes = [preloaded.start("-c", OPEN, url) for _ in range(count)]
    for process in processes:  # all have loaded their modules and wait for the line
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return [process.communicate(timeout=60) for process in processes]


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_all_succeed(preloaded, sqlite_url):
    for out, error in open_at_once(preloaded, sqlite_url):
        assert (out, error) == ("opened\n", "")


@pytest.mark.slow
def test_processes_that_open_a_new_postgresql_database_at_once_all_succeed(
    preloaded, postgresql_server
):
    with new_postgresql_database(postgresql_server, template="template0") as url:
        for out, error in open_at_once(preloaded, url):
            assert (out, error) == ("opened\n", "")


def test_a_copy_of_the_file_opens(sqlite_url, tmp_path):
    engine = open_database(sqlite_url)
    scene = build_scene(engine)
    engine.dispose()  # the last connection folds the log into the file
    shutil.copy(sqlite_path(sqlite_url), tmp_path / "copy.db")
    copy = open_database(f"sqlite:///{tmp_path / 'copy.db'}")
    assert list_projects(copy) == [scene.project]
    copy.dispose()
