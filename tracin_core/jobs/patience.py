"""Let long work wait longer for a locked database than a person at a page would."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Engine, event


def wait_longer(engine: Engine, seconds: float) -> None:
    """Let every later use of the engine wait so long for another writer.

    A press in the review that waits for five seconds should fail and say so; a job of an hour
    should not. PostgreSQL waits by itself.
    """
    if engine.dialect.name != "sqlite":
        return
    milliseconds = int(1000 * seconds)

    # On each checkout: the pool may hold connections that were set up before.
    def set_timeout(connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    event.listen(engine, "checkout", set_timeout)
