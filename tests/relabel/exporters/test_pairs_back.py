"""Pairs of texts: one example of two columns, which the export gives back."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.relabel.importers.builders import preview, read
from ui.fields import name_texts, row_of
from ui.galleries import EXCERPT_LENGTH, card_text

WORDS = ["a man walks his dog", "two children play chess", "a bus stops at night"]


def write_pairs(path, first="premise", second="hypothesis", rows=9):
    lines = [
        {
            first: f"{WORDS[n % 3]}, says number {n}",
            second: f"it is scene {n}",
            "label": "ab"[n % 2],
        }
        for n in range(rows)
    ]
    lines[3][second] = "it has\n\nan empty line"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


PAIRS = [
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "answer"),
    ("Question1", "Question2"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_columns_that_are_called_like_a_pair_are_one_example(tmp_path, first, second):
    path = write_pairs(tmp_path / "pairs.jsonl", first, second)
    found = preview(path)
    assert found.options.text == (first, second)
    assert found.rows[0].fields == {first: f"{WORDS[0]}, says number 0", second: "it is scene 0"}
    assert preview(path, text=second).options.text == second
    assert next(one.fields for one in read(path, text=second)) is None


def test_both_columns_come_back_with_the_corrected_label(imported, tmp_path):
    path = write_pairs(tmp_path / "pairs.jsonl")
    imported.bring(path)
    view = imported.find(lambda one: one.fields["hypothesis"] == "it has\n\nan empty line")
    assert view.text == f"{WORDS[0]}, says number 3\n\nit has\n\nan empty line"
    imported.decide(view, "relabel", "a")
    rows = list(csv.DictReader(io.StringIO(imported.export("csv").decode("utf-8-sig"))))
    assert list(rows[0])[:5] == ["key", "split", "text", "premise", "hypothesis"]
    by_text = {row["hypothesis"]: row for row in rows}
    assert by_text["it has\n\nan empty line"]["premise"] == f"{WORDS[0]}, says number 3"
    assert by_text["it has\n\nan empty line"]["label"] == "a"
    task = json.loads(imported.export("label-studio"))[0]["data"]
    assert task["text"] == f"{task['premise']}\n\n{task['hypothesis']}"
    own = imported.export().decode()
    assert own == path.read_text().replace('line", "label": "b"', 'line", "label": "a"')


def test_a_column_called_text_has_another_name_beside_the_joined_one(imported, tmp_path):
    path = write_pairs(tmp_path / "pairs.jsonl", "title", "text")
    imported.bring(path, text=("title", "text"))
    rows = list(csv.DictReader(io.StringIO(imported.export("csv").decode("utf-8-sig"))))
    assert rows[0]["text"] == f"{rows[0]['title']}\n\n{rows[0]['field_text']}"


def test_a_pair_is_shown_by_the_names_of_its_columns():
    pair = {"premise": "a man walks", "hypothesis": "x" * 500, "note": None}
    shown = name_texts("a man walks\n\n" + "x" * 500, pair)
    assert shown == "premise: a man walks\n\nhypothesis: " + "x" * 500
    assert row_of("a man walks", pair) == {}
    lines = (card_text("a man walks", pair) or "").split("\n")
    assert lines[0] == "premise: a man walks"
    assert len(lines[1]) < EXCERPT_LENGTH / 2
    assert (name_texts("one text", None), card_text("one text", None)) == ("one text",) * 2
    assert row_of(None, {"size": 3}) == {"size": 3}
