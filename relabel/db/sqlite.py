"""What SQLite needs: its file, its settings on each connection, its way to begin a transaction.

SQLite makes an empty file where it finds none, and goes on with a file that was renamed or replaced
under it: decisions would go where nobody looks for them. So the file is made on purpose, once, and
is compared with what was opened before each use. A file that may only be read is opened so.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection
from sqlalchemy.exc import OperationalError

from relabel.errors import DatabaseError
from relabel.locks import FolderHold, make_unpacking_folder
from tracin_core.files import check_ordinary

# Execution option of a connection that is going to write.
WRITE_OPTION = "tracin_write"
# Milliseconds a writer waits for another one; a decision takes a few.
BUSY_TIMEOUT = 5000
# Seconds that a thread waits for the others of its process, which write for a tenth of one each.
TURN_TIMEOUT = 20.0
# Seconds between a writer's attempts to take the lock.
LOCK_POLL = 0.002
# KiB a connection may hold; SQLite's own 2 MiB makes registering a large run half as fast.
CACHE_SIZE = 32 * 1024


def prepare_file(url: URL, *, to_look: bool = False) -> bool:
    """Make the folder of a database file and check that both can be written.

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


# Execution option of an engine: its file.
FILE_OPTION = "tracin_file"
# Files that this process has opened: one that is gone since is missed, and not made anew.
_OPENED: set[Path] = set()
_LAST_DECISION = "SELECT id, project_id FROM decision ORDER BY id DESC LIMIT 1"
_IS_SHOWN = "SELECT 1 FROM project WHERE id = ? AND state = 'shown'"
_WAL_HEADER = 32  # bytes; a shorter log holds nothing


class DatabaseFile:
    """A database's file as it was when it was first opened.

    Attributes:
        path: Where it is.
        read_only: Whether it is only looked at.
    """

    def __init__(self, path: Path, *, read_only: bool = False, alone: bool = False) -> None:
        """Prepare to open a file; nothing is done yet.

        Args:
            path: Where it is.
            read_only: Whether it is only looked at.
            alone: Whether this process keeps all others out. That needs no room on the disk for
                what processes share, which a full disk does not have.
        """
        self.path = path
        self.read_only = read_only
        self._alone = alone
        self._identity: tuple[int, int] | None = None
        self._last = (0, 0)  # number of the last decision seen, and its project
        self._copy: Path | None = None
        self._writer = threading.Lock()
        if path in _OPENED and not path.exists():
            raise self._gone("Found no file there")

    @contextmanager
    def one_writer(self) -> Iterator[None]:
        """Let the threads of this process write one after the other.

        SQLite lets one write too, but those who wait only look again from time to time: of eight
        reviewers on a busy machine some were never lucky within five seconds. Who has waited for a
        turn in vain goes on, and is told by SQLite that the file is locked.
        """
        has_turn = self._writer.acquire(timeout=TURN_TIMEOUT)
        try:
            yield
        finally:
            if has_turn:
                self._writer.release()

    def connect(self) -> sqlite3.Connection:
        """Open a connection; the first one makes the file where there is none.

        Raises:
            DatabaseError: If the file is not the one that was opened before.
            sqlite3.Error: If it cannot be opened.
        """
        if self.read_only:
            return self._connect_to_read()
        self.check()
        mode = "rwc" if self._identity is None else "rw"
        connection = self._open(self.path, f"mode={mode}")
        try:
            self._remember()
            if self._alone:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        except BaseException:
            connection.close()
            raise
        return connection

    def check(self) -> None:
        """Check that the file is still the one that was opened.

        Raises:
            DatabaseError: If it was moved, deleted or replaced.
        """
        if self._identity is None:
            return
        found = _identify(self.path)
        if found is None:
            raise self._gone("Found no file there")
        if found != self._identity:
            raise self._gone("Found another file there")

    def check_content(self, connection: sqlite3.Connection) -> None:
        """Check that the file's content was not replaced by an older copy's.

        Raises:
            DatabaseError: If a decision is missing that was there before, and its project is not.
        """
        # Taken before the file is read: another thread may see a newer decision meanwhile.
        known, its_project = self._last
        try:
            row = connection.execute(_LAST_DECISION).fetchone()
            last, project = (0, 0) if row is None else row
            if last < known and connection.execute(_IS_SHOWN, (its_project,)).fetchone():
                raise self._gone(
                    f"Found decisions up to number {last:,} where there were {known:,}"
                )
        except sqlite3.Error:
            return  # not migrated yet, or damaged: whoever uses it is told
        # Fewer than known where a project was deleted; a thread that is late sets nothing back.
        if last < known or last > self._last[0]:
            self._last = (last, project)

    def _gone(self, found: str) -> DatabaseError:
        return DatabaseError(
            f"The database {self.path} was moved, deleted or replaced while the program ran. "
            f"{found}, expected the file as it was opened; nothing was read or written. Put that "
            "file back in its place, or end the program and start it again to go on with what is "
            "there now."
        )

    def _connect_to_read(self) -> sqlite3.Connection:
        log = Path(f"{self.path}-wal")
        if not log.exists() or log.stat().st_size <= _WAL_HEADER:
            # Nobody has it open: everything is in the file, which needs no log beside it.
            return self._open(self.path, "mode=ro&immutable=1")
        connection = self._open(self.path, "mode=ro")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            connection.close()
            return self._open(self._copied(log), "mode=rw")
        return connection

    def _copied(self, log: Path) -> Path:
        """Return a copy with the log, which a killed process left: reading it needs a place."""
        if self._copy is None:
            folder, hold = make_unpacking_folder()
            weakref.finalize(self, _let_go, folder, hold)
            for part in (self.path, log):
                shutil.copyfile(part, folder / part.name)
            self._copy = folder / self.path.name
        return self._copy

    def _open(self, path: Path, how: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(path.absolute()))}?{how}"
        # The pool hands a connection to one thread at a time.
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    def _remember(self) -> None:
        found = _identify(self.path)
        if self._identity is None:
            self._identity = found
            _OPENED.add(self.path)
        self.check()


def _let_go(folder: Path, hold: FolderHold) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    hold.release()


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
