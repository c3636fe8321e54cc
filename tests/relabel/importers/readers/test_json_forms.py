"""JSON in all the ways that programs write tables of it."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.importers.readers import json_lines
from tests.relabel.importers.builders import preview, problems, read
from tracin_core.errors import InputError

ROWS = [
    {"id": f"0{n}", "text": f"the text of number {n} is this", "label": ("01", "1")[n % 2]}
    for n in range(40)
]
FORMS = {
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2),
    "array by lines": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "pretty objects": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "one after the other": "".join(map(json.dumps, ROWS)),
    "lines with commas": ",\n".join(map(json.dumps, ROWS)) + "\n",
    "lists": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
    "in an object": json.dumps({"version": 2, "rows": ROWS}),
    "columns": pd.DataFrame(ROWS).to_json(),
}


def write(tmp_path, text, name="data.json"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def check_rows(path):
    """Check that every row is there, with its values as they are written."""
    found = read(path, key="id")
    assert [record.text for record in found] == [row["text"] for row in ROWS]
    assert [record.label for record in found] == [row["label"] for row in ROWS]
    assert [record.given_key for record in found] == [row["id"] for row in ROWS]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows_with_values_as_written(tmp_path, form, name):
    check_rows(write(tmp_path, FORMS[form], name))


@pytest.mark.parametrize("form", ["array", "pretty array", "array by lines"])
def test_arrays_are_read_in_pieces(tmp_path, monkeypatch, form):
    monkeypatch.setattr(json_lines, "_CHUNK", 7)
    check_rows(write(tmp_path, FORMS[form]))


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_below_a_name_are_read_in_pieces_where_they_are_many(tmp_path, monkeypatch, indent):
    monkeypatch.setattr(json_lines, "_CHUNK", 300)
    monkeypatch.setattr(json_lines, "MAX_LINE", 600)
    whole = {"version": "1.0", "n": 40, "data": ROWS, "after": {"text": "no row", "label": "1"}}
    path = write(tmp_path, json.dumps(whole, indent=indent))
    assert json_lines.find_json_form(path, "utf-8") == "rows"
    check_rows(path)
    if indent:  # else nothing tells where the next object begins
        path.write_text(path.read_text().replace('number 7 is this"', "number 7 is this"))
        assert [one.what for one in problems(path)][:1] == ["not JSON"]
    by_columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    path = write(tmp_path, json.dumps(by_columns, indent=1))
    with pytest.raises(InputError, match=r"longer than 600.*to_json\(path, orient"):
        preview(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_arrays_may_be_in_other_encodings(tmp_path, encoding):
    path = tmp_path / ("data.jsonl" if encoding == "utf-16-be" else "data.json")
    path.write_bytes(FORMS["array"].encode(encoding))
    check_rows(path)


@pytest.mark.parametrize("text", ["{}", "[]", "[1,2,3]", "[", "{", "nothing"])
def test_files_without_objects_are_refused_in_words(tmp_path, text):
    with pytest.raises(InputError, match="no JSON objects"):
        preview(write(tmp_path, text, "data.jsonl"))


def test_lines_with_commas_are_counted(tmp_path):
    notes = preview(write(tmp_path, FORMS["lines with commas"])).notes
    assert any(note.startswith("39 of the first 40 lines end with a comma") for note in notes)


def test_what_is_broken_is_named_and_the_rest_goes_on(tmp_path):
    text = FORMS["pretty array"].replace('"the text of number 20 is this"', "the text")
    path = write(tmp_path, text)
    assert len(read(path)) == 39
    assert [(p.where, p.what) for p in problems(path)] == [("row 21", "not JSON")]


def test_a_file_that_is_cut_off_is_told(tmp_path):
    text = FORMS["array"]
    path = write(tmp_path, text[: len(text) // 2])
    (wrong,) = problems(path)
    assert wrong.what == "not JSON"
    assert len(read(path)) == wrong.row - 1


def test_most_lines_that_are_no_json_are_said_with_the_first(tmp_path):
    good = [json.dumps(row) for row in ROWS[:2]]
    path = write(tmp_path, "\n".join([*good, *["{'text': 'a', 'label': 'b'}"] * 38]), "data.jsonl")
    first = preview(path).notes[0]
    assert first.startswith("38 of 40 examples cannot be used: not JSON (38). The first ones are")
    assert "row 3, row 4, row 5" in first
    path = write(
        tmp_path, "\n".join([good[0], *["{'text': 'a', 'label': 'b'}"] * 39]), "data.jsonl"
    )
    with pytest.raises(
        InputError, match=r"39 of the first 40 rows cannot be read.*row 2: It is no"
    ):
        preview(path)


def test_objects_inside_of_objects_are_columns(tmp_path):
    rows = [{"data": {"text": r["text"]}, "meta": {"by": {"name": "x"}, "n": r["id"]},
             "out": {"label": r["label"], "score": 0.5}} for r in ROWS]  # fmt: skip
    found = preview(write(tmp_path, json.dumps(rows)))
    assert (found.options.text, found.options.label) == ("data.text", "out.label")
    assert [column.name for column in found.columns] == [
        *("data.text", "meta.by.name", "meta.n", "out.label", "out.score")
    ]
    assert any("'data', 'meta', 'out' is read as columns" in note for note in found.notes)


def test_an_export_of_label_studio_is_read(tmp_path):
    tasks = [
        {
            "id": n,
            "data": {"text": row["text"]},
            "annotations": [
                {
                    "was_cancelled": n % 4 == 0,
                    "result": [{"type": "choices", "value": {"choices": [row["label"]]}}],
                }
            ],
        }
        for n, row in enumerate(ROWS)
    ]
    found = preview(write(tmp_path, json.dumps(tasks)))
    assert found.options.text == "text"
    assert found.class_counts == {"01": 10, "1": 20}
    assert found.problem_counts == {"left out by its status": 10}


def test_marked_passages_are_not_taken_for_labels(tmp_path):
    rows = [{"text": r["text"], "spans": [{"start": 0, "label": "AB"[n % 2]}]}
            for n, r in enumerate(ROWS)]  # fmt: skip
    with pytest.raises(InputError, match="to be predicted cannot be told"):
        preview(write(tmp_path, json.dumps(rows)))


def test_objects_of_many_names_stay_one_column(tmp_path):
    rows = [row | {"by": {f"user{n}": 1}} for n, row in enumerate(ROWS * 2)]
    found = preview(write(tmp_path, json.dumps(rows)))
    assert [column.name for column in found.columns] == ["id", "text", "label", "by"]


def test_a_column_with_a_point_in_its_name_is_itself(tmp_path):
    rows = [row | {"a.b": "top", "a": {"b": "in"}} for row in ROWS]
    found = preview(write(tmp_path, json.dumps(rows)))
    assert [column.name for column in found.columns] == ["id", "text", "label", "a.b", "a"]


def test_lists_a_line_are_no_objects(tmp_path):
    text = "\n".join(json.dumps(list(row.values())) for row in ROWS)
    with pytest.raises(InputError, match="In row 1: It holds list, expected an object"):
        preview(write(tmp_path, text, "data.jsonl"))


def test_objects_in_parquet_are_told_with_a_way_out_that_works(tmp_path):
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    labels = [{"name": row["label"]} for row in ROWS]
    pq.write_table(pa.table({"text": [row["text"] for row in ROWS], "out": labels}), old)
    with pytest.raises(InputError, match=r"pq\.write_table\(pq\.read_table\(old\)\.flatten\(\), n"):
        preview(old)
    pq.write_table(pq.read_table(old).flatten(), new)
    assert preview(new, label="out.name").class_counts == {"01": 20, "1": 20}
