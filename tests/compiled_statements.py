"""Let every database that tests open in one process share the statements that were compiled."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Dialect, Engine, create_engine
from sqlalchemy.sql.compiler import Compiled

import relabel.db.engine


class SharedStatements(dict[Any, Compiled]):
    """Compiled statements by what they say and the kind of database, whichever engine asks.

    SQLAlchemy keeps them for each engine. A person's process opens one and compiles once; tests
    open thousands, and spent a third of a page's time on compiling the same statements again.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what was compiled for any engine of the same kind."""
        return super().get(_without_engine(key), default)

    def __setitem__(self, key: Any, compiled: Compiled) -> None:
        super().__setitem__(_without_engine(key), compiled)


def _without_engine(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *statement = key
    assert isinstance(dialect, Dialect)
    return (type(dialect), dialect.server_version_info, *statement)


def share_compiled_statements(patch: pytest.MonkeyPatch) -> SharedStatements:
    """Let databases that are opened from now on use one store of compiled statements."""
    shared = SharedStatements()

    def create(
        *words: Any, execution_options: dict[str, Any] | None = None, **options: Any
    ) -> Engine:
        own = {"compiled_cache": shared, **(execution_options or {})}
        return create_engine(*words, execution_options=own, **options)

    patch.setattr(relabel.db.engine, "create_engine", create)
    return shared
