"""PostgreSQL databases of tests: emptied and used again, since making one takes half a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import URL, make_url

# All that a test may have changed beside rows: columns, constraints, triggers, settings.
SHAPE = """
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
TABLES = (
    "SELECT relname FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"
)
OTHERS = SQL(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
# ALTER SEQUENCE RESTART would write a new file for each.
FIRST_NUMBERS = SQL("SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence")


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
        try:
            with _connect(make_url(url)) as connection:
                _empty(connection, content)
                is_as_before = _read(connection) == content
        except psycopg.Error:
            is_as_before = False  # settings of a test may forbid to write; then it is dropped
        if is_as_before:
            self._free.append((url, content))
        else:
            name = Identifier(str(make_url(url).database))
            self._run(SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def _make(self) -> tuple[str, Content]:
        name = f"emptied_{next(self._numbers)}"
        names = Identifier(name), Identifier(self.template)
        self._run(SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        url = self.server.set(database=name)
        with _connect(url) as connection:
            content = _read(connection)
        return url.render_as_string(hide_password=False), content

    def _run(self, statement: Composed) -> None:
        with _connect(self.server.set(database="postgres"), autocommit=True) as connection:
            connection.execute(statement)


def _connect(url: URL, *, autocommit: bool = False) -> psycopg.Connection:
    # Not through SQLAlchemy, which asks five questions of each new database first.
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(address, autocommit=autocommit)


def _list_tables(connection: psycopg.Connection) -> list[str]:
    return [name for (name,) in connection.execute(TABLES)]


def _read(connection: psycopg.Connection) -> Content:
    one = SQL("SELECT {} AS name, md5(string_agg(one::text, ';')) AS rows FROM {} AS one")
    tables = [one.format(name, Identifier(name)) for name in _list_tables(connection)]
    found = connection.execute(SQL(" UNION ALL ").join(tables)).fetchall()
    (shape,) = connection.execute(SHAPE).fetchall()[0]
    return Content(shape, {name: rows for name, rows in found if rows is not None})


def _empty(connection: psycopg.Connection, content: Content) -> None:
    """Delete all rows in one question: a database has dozens of tables."""
    # Neither triggers that keep decisions for ever nor foreign keys stand in the way then.
    statements = [OTHERS, SQL("SET LOCAL session_replication_role = replica")]
    for name in _list_tables(connection):
        if name not in content.rows:
            statements.append(SQL("DELETE FROM {}").format(Identifier(name)))
    connection.execute(SQL("; ").join([*statements, FIRST_NUMBERS]))
