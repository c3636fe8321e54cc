"""The file of a SQLite database: the one that was opened, for as long as it is open.

SQLite makes an empty file where it finds none, and goes on with a file that was renamed or replaced
under it: decisions would go where nobody looks for them. So the file is made on purpose, once, and
is compared with what was opened before each use. A file that may only be read is opened so.
"""

from __future__ import annotations

import shutil
import sqlite3
import weakref
from pathlib import Path
from urllib.parse import quote

from tracin_core.errors import DatabaseError
from tracin_core.holding import FolderHold, make_unpacking_folder

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
        if path in _OPENED and not path.exists():
            raise self._gone("Found no file there")

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
        """See that the file is still the one that was opened.

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
        """See that the file's content was not replaced by an older copy's.

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
