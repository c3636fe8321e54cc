"""What SQLite needs: its file, its settings on each connection, its way to begin."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection
from sqlalchemy.exc import OperationalError

from tracin_core.errors import DatabaseError
from tracin_core.files import check_ordinary

# Execution option of a connection that is going to write.
WRITE_OPTION = "tracin_write"
# Milliseconds a writer waits for another one; a decision takes a few.
BUSY_TIMEOUT = 5000
# Seconds between a writer's attempts to take the lock.
LOCK_POLL = 0.002
# KiB a connection may hold; SQLite's own 2 MiB makes registering a large run half as fast.
CACHE_SIZE = 32 * 1024


def prepare_file(url: URL, *, to_look: bool = False) -> bool:
    """Make the folder of a database file and see that both can be written.

    Args:
        url: Where it is.
        to_look: Whether being allowed to read a file that exists is enough.

    Returns:
        Whether the file can be written.

    Raises:
        DatabaseError: If there is no file in the URL, or it or its folder cannot be written.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise DatabaseError(
            f"Found the database URL {url}, which names no file, so every decision would be lost "
            "at the end. Expected sqlite:///path/to/file.db."
        )
    path = Path(url.database)
    check_ordinary(path, "the path of a database file", DatabaseError)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_folder = path.is_dir()
        # SQLite writes a journal beside the file, so the folder counts as well.
        places = [place for place in (path, path.parent) if place.exists()]
    except OSError as error:
        raise DatabaseError(
            f"The database {path} cannot be reached: {error.strerror or error}. Mend the "
            "permissions of its folder, or name another database with --database."
        ) from error
    if is_folder:
        raise DatabaseError(
            f"Found a folder at {path}. Expected the path of a database file: add a file name."
        )
    for place in places:
        if not os.access(place, os.W_OK):
            if to_look and path.is_file() and os.access(path, os.R_OK):
                return False
            raise DatabaseError(
                f"The database {path} cannot be written: {place} is read-only for you. Mend the "
                "permissions, or name another database with --database."
            )
    return True


def configure_reader(connection: sqlite3.Connection, record: Any) -> None:
    """Set a connection up that only looks."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_SIZE}")


def configure_connection(connection: sqlite3.Connection, record: Any) -> None:
    """Set a new connection up: durable, checked, patient, with transactions in our hands."""
    # None: the driver begins no transaction by itself; `begin_transaction` does.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    _use_write_ahead_log(connection)
    # FULL: a decision that the screen confirmed survives a power cut; NORMAL could lose the
    # last ones in WAL mode. Decisions are rare, so one fsync each costs nothing.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_SIZE}")


def begin_transaction(connection: Connection) -> None:
    """Begin, with the write lock at once where the connection is going to write."""
    if not connection.get_execution_options().get(WRITE_OPTION, False):
        connection.exec_driver_sql("BEGIN")
        return
    patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    try:
        _take_write_lock(connection, time.monotonic() + patience / 1000)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")


def _take_write_lock(connection: Connection, deadline: float) -> None:
    """Begin to write, waiting for another writer until the deadline.

    SQLite's own waiting soon sleeps 100 ms between its attempts, and would miss the short
    pauses that long work makes to let a decision in.
    """
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise
            time.sleep(LOCK_POLL)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; readers and the writer then do not wait for each other.

    The switch needs the file alone for a moment and, unlike other statements, does not wait
    for it, so two processes that open a new database at once could fail here.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT / 1000
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
