"""Plain words for what a database can answer instead of doing its work."""

from __future__ import annotations

import resource

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tracin_core.errors import DatabaseError, DatabaseFullError

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
    """Name the limit for a file's size, which SQLite meets as a failing disk."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f", or its file is at this process's limit of {limit:,} bytes (`ulimit -f`)"


def explain(error: SQLAlchemyError, url: URL) -> DatabaseError | None:
    """Say in plain words what stopped the database.

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
