"""CSV, TSV and JSON lines as they come: encodings, delimiters, quotes, broken rows."""

from __future__ import annotations

import gzip

import pytest

from relabel.importers.files import encoding as encoding_module
from relabel.importers.files.encoding import find_encoding
from relabel.importers.options import ImportOptions
from relabel.importers.readers import csv
from tests.relabel.importers.builders import preview, problems, read, texts
from tracin_core.errors import ConfigurationError, InputError

ROWS = [("grün ist schön", "ja"), ("rot & «blau»", "nein"), ("naïve café", "ja")] * 4
TABLE = "text,label\n" + "".join(f'"{text} {n}",{label}\n' for n, (text, label) in enumerate(ROWS))


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_the_encoding_is_found(tmp_path, encoding, found):
    path = tmp_path / "data.csv"
    path.write_bytes(TABLE.encode(encoding))
    assert find_encoding(path).name == found
    assert [r.text for r in read(path)] == [f"{text} {n}" for n, (text, _) in enumerate(ROWS)]
    assert preview(path).classes == ("ja", "nein")


def test_an_encoding_that_was_guessed_is_said(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(TABLE.encode("cp1252"))
    assert any("Windows-1252" in note and "--encoding" in note for note in preview(path).notes)


def test_a_named_encoding_is_used(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("text,label\nпривет мир,да\nпока всем,нет\n".encode("koi8-r") * 1)
    assert read(path, encoding="koi8-r")[0].text == "привет мир"


def test_mixed_encodings_are_reported_by_row_and_the_good_rows_go_on(tmp_path):
    path = tmp_path / "data.csv"
    lines = TABLE.encode().splitlines(keepends=True)
    lines[3] = "café au lait,ja\n".encode("cp1252")
    path.write_bytes(b"".join(lines))
    found = preview(path)
    assert any("mixed" in note and "Save the whole file as UTF-8" in note for note in found.notes)
    assert [(p.row, p.what) for p in found.problems] == [(4, "wrong encoding")]
    assert found.num_usable == len(ROWS) - 1


@pytest.mark.parametrize("name", ["data.csv.gz", "data.csv", "data.tsv.gz"])
def test_gzip_is_recognised_by_its_first_bytes(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(TABLE.encode()))
    assert len(read(path)) == len(ROWS)


def test_damaged_gzip_is_said(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress((TABLE * 50).encode())[:-20])
    with pytest.raises(InputError, match="damaged or cut off"):
        preview(path)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    path = tmp_path / "data.csv"
    rows = [f'"a, text; of | many	{n}"{delimiter}{n % 3}' for n in range(9)]
    path.write_text("\n".join([f"text{delimiter}label", *rows]))
    assert {r.label for r in read(path)} == {"0", "1", "2"}


def test_a_named_delimiter_is_used(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text^label\n" + "".join(f"text {n}^{n % 2}\n" for n in range(9)))
    with pytest.raises(InputError, match="--delimiter"):
        preview(path)
    assert len(read(path, delimiter="^")) == 9


def test_line_breaks_and_quotes_inside_a_field_are_kept(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"two\nlines, he said ""hi""",a\r\nplain,b\n\nafter a gap,a\n')
    records = read(path)
    assert [r.text for r in records] == ['two\nlines, he said "hi"', "plain", "after a gap"]
    assert [r.where for r in records] == ["row 2", "row 3", "row 5"]


def test_rows_of_the_wrong_width_are_reported_like_a_spreadsheet_counts(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"a\nb",x\nshort\ny,z,too many\nfine,x\n')
    assert [(p.row, p.message[:29]) for p in problems(path)] == [
        (3, "It has 1 field, expected 2 as"),
        (4, "It has 3 fields, expected 2 a"),
    ]


def test_a_quote_that_is_never_closed_is_found(tmp_path):
    path = texts(tmp_path / "data.csv", 6, extra='"never closed,good\nlost,bad\nlost too,good\n')
    found = problems(path)
    assert [(p.row, p.what) for p in found] == [(8, "unclosed quote")]
    assert "3 lines" in found[0].message
    assert len(read(path)) == 6


def test_a_field_without_end_is_given_up_and_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "MAX_FIELD", 200)
    path = texts(tmp_path / "data.csv", 4, extra='"open,good\n' + "x,y\n" * 100)
    found = problems(path)
    assert "unclosed quote" in {p.what for p in found}
    assert "closing quote may be missing" in found[0].message
    assert len(read(path)) > 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (b"text\nhello\n", "1 column"),
        (b"text,text\na,b\n", "several columns called 'text'"),
        (b"1,2,3\n4,5,6\n", "holds only numbers"),
        (bytes(range(256)) * 40, "no text file"),
    ],
)
def test_what_is_no_table_is_refused_with_the_way_out(tmp_path, content, message):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        preview(path)


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_module, "MAX_LINE", 1000)
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "x" * 5000)
    with pytest.raises(InputError, match=r"longer than 1,000 characters"):
        preview(path)


def test_a_name_left_out_of_the_header_gets_a_number(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(",text,label\n" + "".join(f"{n},the text {n},{n % 2}\n" for n in range(9)))
    assert [c.name for c in preview(path).columns] == ["column_1", "text", "label"]


def test_json_lines_are_read_and_what_is_no_object_is_reported(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(
        '{"text": "one \\u00e9", "label": 1}\n{"text": "two", "label": 0}\n[1]\nnot json\n\n'
        '{"label": 1, "text": "three"}\n{"label": 0}\n'
    )
    assert [r.text for r in read(path)] == ["one é", "two", "three"]
    assert [(p.row, p.what) for p in problems(path)] == [
        (3, "not an object"),
        (4, "not JSON"),
        (7, "empty text"),
    ]


def test_json_lines_may_be_called_json(tmp_path):
    path = tmp_path / "data.json"
    path.write_text("".join(f'{{"text": "text {n}", "label": {n % 2}}}\n' for n in range(9)))
    assert [r.text for r in read(path)] == [f"text {n}" for n in range(9)]


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ConfigurationError, match="cp1252"):
        ImportOptions(encoding="klingon")


def test_a_field_that_swallowed_other_rows_is_reported_and_kept(tmp_path):
    path = texts(tmp_path / "data.csv")
    lines = path.read_text().splitlines()
    lines[5] = '"' + lines[5]
    lines[25] = lines[25].replace(",", '",')
    path.write_text("\n".join(lines) + "\n")
    found = preview(path)
    assert found.num_usable == 20
    (told,) = found.problems
    assert (told.row, told.what, told.refused) == (6, "lines in one field", False)
    assert "over 21 lines, 20 of which would be rows" in told.message


def test_an_address_over_several_lines_is_a_field(tmp_path):
    path = texts(tmp_path / "data.csv", extra='"12 High Street\nParis, France\nEurope",good\n')
    assert preview(path).problem_counts == {}


def test_names_of_columns_again_are_left_out_and_told(tmp_path):
    path = texts(tmp_path / "data.csv", extra="text,label\none more text,good\n")
    found = preview(path)
    assert (found.num_usable, found.problem_counts) == (41, {"row of names again": 1})
    assert set(found.classes) == {"bad", "good"}


def test_rows_of_another_width_are_said_first_with_their_places(tmp_path):
    path = texts(tmp_path / "data.csv", extra="a,b,c\n" * 30)
    first = preview(path).notes[0]
    assert first.startswith("30 of 70 examples cannot be used: wrong number of fields (30).")
    assert "row 42, row 43, row 44" in first
