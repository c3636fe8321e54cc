"""One test says whether a text can be stored, for imports, projects, notes and backups."""

from __future__ import annotations

import json
import sqlite3
import timeit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relabel.db.decisions.checks import check_note
from relabel.db.project_rules import check_storable
from relabel.errors import InvalidDecisionError
from relabel.importers.columns.values import RefusedError, check_text
from relabel.projects import backup
from relabel.text import find_text_fault
from tracin_core.errors import InputError

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)


@given(TEXTS)
@example("a\x00\ud800")
@example("\udc80")
@example("\U0001f600 é")
def test_the_fault_is_what_each_character_says(text: str) -> None:
    broken = any("\ud800" <= one <= "\udfff" for one in text)
    expected = "broken" if broken else "zero" if "\x00" in text else None
    assert find_text_fault(text) == expected


@given(TEXTS)
def test_what_has_no_fault_comes_back_from_a_database_and_from_json(text: str) -> None:
    if find_text_fault(text) is not None:
        return
    with sqlite3.connect(":memory:") as connection:
        assert connection.execute("SELECT ?", (text,)).fetchone() == (text,)
    connection.close()
    assert json.loads(json.dumps(text, ensure_ascii=False).encode()) == text


@pytest.mark.parametrize("text", ["a\x00b", "half \ud83d of a letter"])
def test_all_who_store_texts_refuse_the_same(text: str) -> None:
    with pytest.raises(InputError, match="Example 7 contains a NUL character or a broken Unicode"):
        check_storable(text, "Example 7")
    with pytest.raises(InvalidDecisionError, match="holds a NUL or a broken Unicode character"):
        check_note(text)
    with pytest.raises(RefusedError):
        check_text(text, "It")
    with pytest.raises(InputError, match="Expected plain text"):
        backup._text(text)


@pytest.mark.parametrize("text", ["plain words " * 30, "Wörter, größer " * 30])
def test_a_long_text_costs_about_what_encoding_it_costs(text: str) -> None:
    def seconds(statement: str) -> float:
        names = {"check": check_storable, "text": text}
        return min(timeit.repeat(statement, globals=names, number=500, repeat=20))

    # Looking at every character in Python cost fifty times as much.
    assert seconds("check(text, 'it')") < 10 * seconds("text.encode()") + 1e-3
