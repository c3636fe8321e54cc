"""An empty, migrated database of the test's own, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from relabel.db.engine import open_database
from tests.relabel.db.builders import Scene, build_scene
from tests.relabel.empty_databases import EmptyDatabases

_numbers = count()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a server of our own, with a migrated database named `template`."""
    with warnings.catch_warnings():
        # pgserver asks for a runtime folder that a container does not have.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pgserver", reason="pgserver is not installed")
    # Not pytest's own folder: the server runs as another user when we are root, and the path
    # of its socket must be short.
    folder = tempfile.mkdtemp(prefix="pg")
    try:
        server = pgserver.get_server(folder)
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    # Each test gets a database of its own; without waiting for the disk that takes a tenth.
    server.psql("ALTER SYSTEM SET fsync = off")
    server.psql("SELECT pg_reload_conf()")
    server.psql("CREATE DATABASE template")
    url = server.get_uri("template")
    open_database(url).dispose()
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: str) -> EmptyDatabases:
    return EmptyDatabases(make_url(postgresql_server), "template")


@contextmanager
def new_postgresql_database(server_url: str, template: str = "template") -> Iterator[str]:
    """Give the URL of a new database, dropped at the end."""
    name = f"test_{next(_numbers)}"
    url = make_url(server_url)
    server = url.set(database="postgres", drivername="postgresql+psycopg")
    outside = create_engine(server, isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with outside.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    outside.dispose()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a database on both, except what is the same on each and marked so."""
    if "database_url" in metafunc.fixturenames:
        databases = ["sqlite"]
        if metafunc.definition.get_closest_marker("sqlite_only") is None:
            databases.append(pytest.param("postgresql", marks=pytest.mark.slow))
        metafunc.parametrize("database_url", databases, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        path = tmp_path / "reviews.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    databases: EmptyDatabases = request.getfixturevalue("postgresql_databases")
    url = databases.take()
    yield url
    databases.give_back(url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine: Engine) -> Scene:
    return build_scene(engine)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'new' / 'reviews.db'}"
