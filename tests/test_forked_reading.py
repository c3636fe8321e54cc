"""A reading in a fork answers, refuses and fails as one that is started by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relabel.importers.options import ImportOptions
from relabel.sandbox import PROGRAM, run_apart
from tests.forked_reading import forked_readings, read_with, usual_options
from tracin_core.errors import TracInError

COLUMNS = "relabel.importers.preview:list_columns_in_process"


@pytest.fixture(scope="module")
def reader() -> Iterator[tuple[str, ...]]:
    with forked_readings() as program:
        yield program


def request(path: Path) -> dict[str, Any]:
    return {"path": str(path), "options": ImportOptions().to_json()}


def test_a_table_is_read_as_by_the_program_itself(reader: tuple[str, ...], tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    table.write_text("review,liked\nwarm and witty,yes\ndull,no\n")
    asked = request(table)
    forked = run_apart(COLUMNS, asked, what="x", program=reader)
    assert forked == run_apart(COLUMNS, asked, what="x", program=PROGRAM)
    assert len(forked) == 2


def test_what_is_refused_has_its_class_and_words(reader: tuple[str, ...], tmp_path: Path) -> None:
    damaged = tmp_path / "films.parquet"
    damaged.write_bytes(b"no parquet at all")
    told = []
    for program in (reader, PROGRAM):
        with pytest.raises(TracInError) as refused:
            run_apart(COLUMNS, request(damaged), what="x", program=program)
        told.append((type(refused.value), str(refused.value)))
    assert told[0] == told[1]


def test_a_bug_comes_with_its_trace(reader: tuple[str, ...]) -> None:
    with pytest.raises(RuntimeError, match="no task of this program"):
        run_apart("os:getcwd", {}, what="x", program=reader)


def test_a_program_is_the_usual_one_once_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(usual_options(), "program", PROGRAM)
    read_with(["/bin/false"])
    with pytest.raises(TracInError, match="ended the process that read it"):
        run_apart(COLUMNS, {}, what="x")
