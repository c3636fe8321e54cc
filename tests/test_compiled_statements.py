"""Databases of tests share compiled statements, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import literal_column, select

from relabel.db.engine import open_database, reading
from relabel.db.projects import create_project
from relabel.db.schema import ProjectRow
from tests.compiled_statements import SharedStatements, share_compiled_statements


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> SharedStatements:
    return share_compiled_statements(monkeypatch)


def test_a_second_database_compiles_nothing_again(tmp_path: Path, statements: SharedStatements):
    statement = select(literal_column("1")).select_from(ProjectRow).where(ProjectRow.slug == "a")
    compiled = []
    for name in "ab":
        engine = open_database(f"sqlite:///{tmp_path / name}.db")
        before = len(statements)
        with reading(engine) as connection:
            assert connection.execute(statement).all() == []
        compiled.append(len(statements) - before)
        engine.dispose()
    assert compiled == [1, 0]


def test_parameters_and_what_is_written_are_each_database_s_own(
    tmp_path: Path, statements: SharedStatements
):
    engines = [open_database(f"sqlite:///{tmp_path / name}.db") for name in "ab"]
    for number, engine in enumerate(engines):
        create_project(engine, slug=f"p{number}", title="P", kind="image", classes=["a", "b"])
    for number, engine in enumerate(engines):
        with reading(engine) as connection:
            names = connection.execute(select(ProjectRow.slug)).scalars().all()
        assert names == [f"p{number}"]
        engine.dispose()
