"""Tables whose first line is data: their columns are named by hand."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from relabel.importers.options import ImportOptions, join_names, split_names
from tests.relabel.importers.builders import image_folder, make_zip, pets, preview, problems, read
from tracin_core.errors import ConfigurationError, InputError

NAMES = ("class", "title", "description")
LINES = [
    f'"{1 + n % 3}","Story {n}","Short-sellers are seeing green again, ""{n}"" says"\n'
    for n in range(30)
]
NEWS = "".join(LINES)


def news(path, content: str = NEWS):
    path.write_text(content)
    return path


def test_the_first_line_is_row_1_and_an_example(tmp_path):
    path = news(tmp_path / "train.csv")
    records = read(path, columns=NAMES)
    assert len(records) == 30
    assert (records[0].where, records[0].label) == ("row 1", "1")
    assert records[0].text == 'Short-sellers are seeing green again, "0" says'
    assert records[0].place == "train.csv, row 1"
    found = preview(path, columns=NAMES)
    assert [column.name for column in found.columns] == list(NAMES)
    assert (found.options.label, found.options.text) == ("class", "description")
    assert any("is row 1" in note for note in found.notes)


def test_bad_rows_are_counted_from_the_first_line(tmp_path):
    path = news(tmp_path / "d.csv", "one,field,too many,here\n" + NEWS + "2,short\n")
    assert [(p.row, p.what) for p in problems(path, columns=NAMES)] == [
        (1, "wrong number of fields"),
        (32, "wrong number of fields"),
    ]


def test_tabs_gzip_and_archives_are_read_alike(tmp_path):
    expected = [r.text for r in read(news(tmp_path / "a.csv"), columns=NAMES)]
    tabs = news(tmp_path / "a.tsv", "".join(f"{n % 2}\ta title\ttext {n}\n" for n in range(9)))
    assert [r.text for r in read(tabs, columns=NAMES)] == [f"text {n}" for n in range(9)]
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(NEWS.encode()))
    assert [r.text for r in read(packed, columns=NAMES)] == expected
    archive = make_zip(tmp_path / "c.zip", {"ag_news_csv/train.csv": NEWS.encode()})
    assert [r.text for r in read(archive, columns=NAMES)] == expected


def test_a_delimiter_at_the_end_of_every_row_needs_no_name(tmp_path):
    path = news(tmp_path / "d.csv", "".join(f"{n % 2},a text of number {n},\n" for n in range(9)))
    assert len(read(path, columns=("label", "text"))) == 9


@pytest.mark.parametrize("header", ["class,title,description", "ID,Description,Class,TITLE"])
def test_a_line_that_holds_the_given_names_is_no_data(tmp_path, header):
    cells = [f"{n % 2},story {n},the words of {n}" for n in range(9)]
    if header.startswith("ID"):
        cells = [f"{n},the words of {n},{n % 2},story {n}" for n in range(9)]
    path = news(tmp_path / "d.csv", "\n".join([header, *cells]))
    records = read(path, columns=NAMES, text="description", label="class")
    assert [(r.row, r.text) for r in records[:2]] == [(2, "the words of 0"), (3, "the words of 1")]


@pytest.mark.parametrize("names", [("class", "text"), ("class", "title", "text", "more")])
def test_too_few_or_too_many_names_are_refused(tmp_path, names):
    told = rf"Found {len(names)} names for the 3 columns.*'1', 'Story 0'.*--columns"
    with pytest.raises(InputError, match=told):
        preview(news(tmp_path / "d.csv"), columns=names)


def test_one_column_is_refused(tmp_path):
    path = news(tmp_path / "d.csv", "some words\nother words\n")
    with pytest.raises(InputError, match="1 column"):
        preview(path, columns=("text",))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a", "b", "a"), "'a' twice"),
        (("a", "", "b"), "an empty name"),
        ((), "an empty name"),
    ],
)
def test_names_given_twice_or_empty_are_refused(names, told):
    with pytest.raises(ConfigurationError, match=rf"{told}.*--columns"):
        ImportOptions(columns=names)


@pytest.mark.parametrize("name", ["d.parquet", "d.jsonl", "d.npz", "pets", "d.zip"])
def test_data_that_has_names_takes_no_others(tmp_path, name):
    path = tmp_path / name
    data = pd.DataFrame({"text": [f"the text {n}" for n in range(9)], "label": [0, 1, 0] * 3})
    if name == "d.parquet":
        data.to_parquet(path)
    elif name == "d.jsonl":
        data.to_json(path, orient="records", lines=True)
    elif name == "d.npz":
        np.savez(path, x=np.zeros((9, 2)), y=np.arange(9) % 2)
    elif name == "pets":
        image_folder(path, pets())
    else:
        data.to_parquet(tmp_path / "inside.parquet")
        make_zip(path, {"inside.parquet": (tmp_path / "inside.parquet").read_bytes()})
    with pytest.raises(InputError, match=r"no columns without names.*--columns"):
        preview(path, columns=("text", "label"))


def test_a_sentence_and_a_label_in_the_first_line_are_an_example(tmp_path):
    rows = [f"{'ham' if n % 3 else 'spam'},Go until jurong point number {n}" for n in range(30)]
    path = news(tmp_path / "sms.csv", "\n".join(rows))
    with pytest.raises(InputError, match=r"looks like the rows below it.*2 columns.*--columns"):
        preview(path)
    assert len(read(path, columns=("label", "text"))) == 30


def test_a_question_as_a_name_is_no_example(tmp_path):
    rows = [f"{'yes' if n % 3 else 'no'},because number {n}" for n in range(30)]
    path = news(tmp_path / "d.csv", "\n".join(["Do you like the new kettle,text", *rows]))
    assert len(read(path, label="Do you like the new kettle", text="text")) == 30


def test_empty_lines_above_the_names_are_passed_over(tmp_path):
    path = news(tmp_path / "d.csv", "\n\nlabel,text\n" + "".join(f"a,w {n}\n" for n in range(9)))
    assert [r.row for r in read(path, text="text")] == list(range(4, 13))


@pytest.mark.parametrize("names", [("a", "b"), ("title, or so", 'the "text"'), ("ä",)])
def test_names_are_written_and_read_in_one_line(names):
    assert split_names(join_names(names)) == names


def test_a_blank_after_a_comma_is_no_part_of_a_name():
    assert split_names(' class, "a, b" ,c') == ("class", "a, b", "c")
