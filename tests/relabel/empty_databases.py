"""PostgreSQL databases of tests: emptied and used again, since making one takes half a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

# All that a test may have changed beside rows: columns, constraints, triggers, settings.
SHAPE = text(
    """
    SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
        SELECT format('%s %s %s %s', attrelid::regclass, attname, atttypid, attnotnull) AS line
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped AND attnum > 0
        UNION ALL SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
        UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s', setconfig) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS lines
    """
)
RELATIONS = text(
    "SELECT relname FROM pg_class "
    "WHERE relkind = :kind AND relnamespace = 'public'::regnamespace ORDER BY relname"
)
OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True)
class Content:
    """What a database of tests has before a test.

    Attributes:
        shape: Hash of everything but rows.
        rows: Of the tables that are not empty, such as the one with the schema's revision.
    """

    shape: str
    rows: dict[str, str]


@dataclass
class EmptyDatabases:
    """Migrated databases without rows, each of one test at a time.

    Attributes:
        server: The URL of a database of the server.
        template: The name of a migrated one, which is copied.
    """

    server: URL
    template: str
    _numbers: count[int] = field(default_factory=count)
    _free: list[tuple[str, Content]] = field(default_factory=list)
    _taken: dict[str, Content] = field(default_factory=dict)

    def take(self) -> str:
        """Return the URL of an empty database."""
        url, content = self._free.pop() if self._free else self._make()
        self._taken[url] = content
        return url

    def give_back(self, url: str) -> None:
        """Empty a database for the next test, or drop it where more than rows has changed."""
        content = self._taken.pop(url)
        engine = _open(make_url(url))
        try:
            with engine.begin() as connection:
                connection.execute(OTHERS)
                _empty(connection, content)
                is_as_before = _read(connection) == content
        except SQLAlchemyError:
            is_as_before = False  # settings of a test may forbid to write; then it is dropped
        engine.dispose()
        if is_as_before:
            self._free.append((url, content))
        else:
            self._run(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _make(self) -> tuple[str, Content]:
        name = f"emptied_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        url = self.server.set(database=name)
        engine = _open(url)
        with engine.begin() as connection:
            content = _read(connection)
        engine.dispose()
        return url.render_as_string(hide_password=False), content

    def _run(self, statement: str) -> None:
        engine = _open(self.server.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def _open(url: URL, isolation_level: str = "READ COMMITTED") -> Engine:
    return create_engine(url.set(drivername="postgresql+psycopg"), isolation_level=isolation_level)


def _list(connection: Connection, kind: str) -> list[str]:
    return list(connection.execute(RELATIONS, {"kind": kind}).scalars())


def _read(connection: Connection) -> Content:
    # Names are the catalogue's own.
    tables = [
        f"SELECT '{name}' AS name, md5(string_agg(one::text, ';')) AS rows FROM {name} AS one"  # noqa: S608
        for name in _list(connection, "r")
    ]
    found = connection.execute(text(" UNION ALL ".join(tables))).all()
    shape = connection.execute(SHAPE).scalar_one()
    return Content(shape, {name: rows for name, rows in found if rows is not None})


def _empty(connection: Connection, content: Content) -> None:
    # Neither triggers that keep decisions for ever nor foreign keys stand in the way then.
    statements = ["SET LOCAL session_replication_role = replica"]
    tables = [name for name in _list(connection, "r") if name not in content.rows]
    statements += [f"DELETE FROM {name}" for name in tables]  # noqa: S608
    statements += [f"ALTER SEQUENCE {name} RESTART" for name in _list(connection, "S")]
    for statement in statements:
        connection.execute(text(statement))
