"""Open the database: connect, migrate, and the two ways to use it, reading and writing.

All that fails by circumstance inside `reading` and `writing` (a full disk, a lost connection, a
lock) becomes a `DatabaseError` in plain words; what is a bug surfaces as it is.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from relabel.db import sqlite
from relabel.db.schema import SCHEMA_REVISION
from relabel.db.sqlite import FILE_OPTION, DatabaseFile
from relabel.errors import DatabaseError, DatabaseFullError

# Seconds to wait for a server before it counts as unreachable.
CONNECT_TIMEOUT = 10
# Any number, the same in every process: the PostgreSQL advisory lock held while migrating.
MIGRATION_LOCK = 0x7472_6163


def open_database(url: str, *, to_look: bool = False, alone: bool = False) -> Engine:
    """Open a database, making and migrating it where needed.

    Several processes may open a new database at once: one migrates, the others wait. A database
    that is up to date is recognised by one row, so opening it costs a few milliseconds.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        to_look: Whether a file that cannot be written is opened to be looked at; whatever then
            writes is refused with what is in the way.
        alone: Whether a SQLite file is kept from all other processes, as can be done on a disk
            that is full.

    Returns:
        The engine; dispose of it when done, or keep it for the life of the process.

    Raises:
        DatabaseError: If the URL is no database URL, the driver is missing, the database is
            from a newer version of this program, damaged, unwritable, full or unreachable.
    """
    parsed = _parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        arguments = {"connect_timeout": CONNECT_TIMEOUT}
        return _opened(_create_engine(parsed, connect_args=arguments))
    writable = sqlite.prepare_file(parsed, to_look=to_look)
    path = Path(str(parsed.database)).absolute()
    try:
        file = DatabaseFile(path, read_only=not writable, alone=alone)
        return _opened(_create_sqlite_engine(parsed, file))
    except DatabaseFullError:
        if not to_look:
            raise
        # What processes share beside the file has no room, but looking can do without.
        return _opened(_create_sqlite_engine(parsed, DatabaseFile(path, read_only=True)))


def _opened(engine: Engine) -> Engine:
    """Return an engine whose database is up to date."""
    try:
        with translate_database_errors(engine.url):
            if _read_revision(engine) != SCHEMA_REVISION:
                _check_writable(engine)
                _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection for a few queries; on SQLite they see one state of the database.

    Raises:
        DatabaseError: If the database fails.
    """
    with translate_database_errors(engine.url), engine.connect() as connection:
        yield connection


@contextmanager
def reading_one_state(engine: Engine) -> Iterator[Connection]:
    """Open a connection whose queries see one state of the database, on PostgreSQL too.

    For what must fit together: an example that is shown as pending, and the version that a
    decision about it names. There each statement would otherwise see what was committed meanwhile.

    Raises:
        DatabaseError: If the database fails.
    """
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a connection inside one write transaction, committed at the end.

    On SQLite the write lock is taken at the beginning (BEGIN IMMEDIATE): a transaction that
    read first and wrote later would fail at once, without waiting, if another wrote meanwhile.

    Raises:
        DatabaseError: If the database fails; then nothing was written.
    """
    _check_writable(engine)
    file: DatabaseFile | None = engine.get_execution_options().get(FILE_OPTION)
    with (
        translate_database_errors(engine.url),
        nullcontext() if file is None else file.one_writer(),
        engine.connect().execution_options(**{sqlite.WRITE_OPTION: True}) as connection,
        connection.begin(),
    ):
        yield connection
        if file is not None:
            file.check()  # the last moment: what is committed must be where it is looked for


def is_read_only(engine: Engine) -> bool:
    """Return whether a database was opened to be looked at, because it cannot be written."""
    file: DatabaseFile | None = engine.get_execution_options().get(FILE_OPTION)
    return file is not None and file.read_only


@contextmanager
def translate_database_errors(url: URL) -> Iterator[None]:
    """Turn a database's failures inside the block into errors a person can act on.

    Raises:
        DatabaseError: If the database fails by circumstance rather than by a bug.
    """
    try:
        yield
    except SQLAlchemyError as error:
        explanation = explain(error, url)
        if explanation is None:
            raise
        raise explanation from error


def explain(error: SQLAlchemyError, url: URL) -> DatabaseError | None:
    """Return the error that says in plain words what stopped the database.

    Args:
        error: What SQLAlchemy raised.
        url: Where the database is; its password is not repeated.

    Returns:
        The error to raise instead, or None where the failure is no circumstance but a bug,
        which should surface as it is.
    """
    place = f"The database {url.render_as_string(hide_password=True)}"
    if isinstance(error, PoolTimeoutError):
        return DatabaseError(f"{place} is busy: every connection is in use. Try again in a moment.")
    if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
        return None  # a broken rule quotes data, which may read like anything
    answer = " ".join(str(error.orig).split())
    lowered = answer.lower()
    for parts, meaning in _MEANINGS:
        if any(part in lowered for part in parts):
            kind = DatabaseFullError if parts is _NO_ROOM else DatabaseError
            told = meaning.replace("{limit}", _describe_limit())
            return kind(f"{place} {told} (It answered: {answer})")
    if isinstance(error, OperationalError) and not url.drivername.startswith("sqlite"):
        return DatabaseError(
            f"{place} could not do what was asked. Check that the server is well and the URL "
            f"right, and try again. (It answered: {answer})"
        )
    return None


_NO_ROOM = ("disk is full", "no space left", "disk i/o error", "could not extend file")
# (part of the driver's message in lower case, what it means and what to do). SQLite's texts
# are those of sqlite3_errstr(), PostgreSQL's those of its error codes' messages.
_MEANINGS = (
    (
        ("file is not a database", "malformed"),
        "is damaged or is no SQLite database. Expected a database file made by this program. "
        "Put a backup in its place, or move the file away to begin with an empty database; "
        "`sqlite3 FILE .recover` may save what is left of it.",
    ),
    (
        ("readonly", "read-only", "permission denied"),
        "cannot be written. Expected to be allowed to write the database, and for SQLite its "
        "folder too. Mend the permissions, or name another database with --database.",
    ),
    (
        _NO_ROOM,
        "could not be written: the disk is full or failing{limit}. Nothing of the last step was "
        "kept. Free some space and try again.",
    ),
    (
        ("already exists",),
        "holds tables of another program, or what is left of an older one of ours. Expected an "
        "empty database, or one made by this program. Name another database with --database.",
    ),
    (
        ("no such table", "no such column", "does not exist"),
        "lacks our tables: it was moved, deleted or replaced while the app ran. Stop the app, put "
        "the file back, and start again.",
    ),
    (
        ("is locked", "lock timeout", "deadlock detected"),
        "is locked by another process. Nothing of the last step was kept. Try again; if it "
        "stays locked, end the other program that has it open.",
    ),
    (
        ("unable to open database file",),
        "cannot be opened. Expected a file in a folder that can be written. Check the path and "
        "its permissions, or name another database with --database.",
    ),
    (
        ("password authentication failed", "no password supplied"),
        "refused the user or password. Check both in the database URL.",
    ),
    (
        (
            "connection refused",
            "could not translate host name",
            "failed to resolve host",
            "connection failed",
            "connection timeout",
            "timeout expired",
            "server closed the connection",
            "connection is lost",
            "the connection is closed",
            "terminating connection",
            "the database system is",
        ),
        "cannot be reached. Expected a running server at that address. Start it, check host, "
        "port and database name in the URL, and try again.",
    ),
)


def _describe_limit() -> str:
    """Return the limit for a file's size in words; SQLite meets it as a failing disk."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f", or its file is at this process's limit of {limit:,} bytes (`ulimit -f`)"


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(
            "The database URL cannot be read. Expected sqlite:///path/to/file.db or "
            "postgresql://user:password@host/name. Mend --database or TRACIN_DATABASE_URL."
        ) from error
    if parsed.drivername in ("postgres", "postgresql"):
        # `postgres://` is what hosting services hand out; SQLAlchemy 2.0 would load psycopg2.
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(
            f"Found a database URL of the kind {parsed.get_backend_name()!r}. Expected sqlite or "
            "postgresql. Mend --database or TRACIN_DATABASE_URL."
        )
    return parsed


def _create_engine(url: URL, **options: Any) -> Engine:
    try:
        # A server may restart between two clicks: test a pooled connection before using it.
        return create_engine(
            url,
            pool_pre_ping=url.get_backend_name() != "sqlite",
            # Readable, and so that a search finds what it looks for: "é", not "\u00e9".
            json_serializer=partial(json.dumps, ensure_ascii=False, allow_nan=False),
            **options,
        )
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"The driver {error.name!r} for {url.drivername} is not installed. For PostgreSQL "
            "run: pip install 'psycopg[binary]'"
        ) from error
    except (NoSuchModuleError, ImportError) as error:
        raise DatabaseError(
            f"The driver of {url.drivername} cannot be loaded: {error}. Expected sqlite:///… or "
            "postgresql://… with psycopg 3 (pip install 'psycopg[binary]')."
        ) from error


def _create_sqlite_engine(url: URL, file: DatabaseFile) -> Engine:
    # What is only looked at is opened for each look: whoever can write it may have done so.
    pool = {"poolclass": NullPool} if file.read_only else {}
    engine = _create_engine(
        url, creator=file.connect, execution_options={FILE_OPTION: file}, **pool
    )

    def see_same_file(connection: Any, record: Any, proxy: Any) -> None:
        file.check()
        file.check_content(connection)

    configure = sqlite.configure_reader if file.read_only else sqlite.configure_connection
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", sqlite.begin_transaction)
    event.listen(engine, "checkout", see_same_file)
    return engine


def _check_writable(engine: Engine) -> None:
    if is_read_only(engine):
        raise DatabaseError(
            f"The database {engine.url.database} cannot be written: it or its folder is read-only "
            "for you. It can be looked at and exported, but nothing can be recorded in it, and one "
            "of an older version cannot be brought up to date. Mend the permissions, or copy the "
            "workspace to where you may write and name that with --workspace."
        )


def _read_revision(engine: Engine) -> str | None:
    """Return the database's revision, or None where it has never been migrated."""
    with engine.connect() as connection:
        return _revision_of(connection)


def _revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _migrate(engine: Engine) -> None:
    """Migrate the schema to the newest, in one transaction that keeps other processes waiting."""
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        revision = _revision_of(connection)  # again: another process may have been first
        if revision == SCHEMA_REVISION:
            return
        _run_migrations(connection, revision, engine.url)


def _run_migrations(connection: Connection, revision: str | None, url: URL) -> None:
    # Alembic costs 0.1 s to load, and an up-to-date database does not need it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise DatabaseError(
            f"The database {url.render_as_string(hide_password=True)} has schema revision "
            f"{revision!r}, made by a newer version of this program, which knows up to "
            f"{SCHEMA_REVISION!r}. Update the program, or name another database with --database."
        )
    command.upgrade(config, "head")


def migrations_folder() -> Path:
    """Return the folder of the migrations, wherever the package is installed."""
    return Path(__file__).resolve().parent / "migrations"
