"""The text of an example out of several columns."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from relabel.features.records import content_key
from relabel.importers.columns import values
from relabel.importers.options import ImportOptions
from tests.relabel.importers.builders import preview, problems, read
from tracin_core.errors import ConfigurationError, InputError

BODY = "the body of number {} says rather much about it"


@pytest.fixture
def posts(tmp_path):
    data = pd.DataFrame({"title": [f"title {n}" for n in range(20)]})
    data["body"] = [BODY.format(n) for n in range(20)]
    data["label"] = ["a", "b"] * 10
    path = tmp_path / "posts.csv"
    data.to_csv(path, index=False)
    return path


def edit(path, row: int, **cells: str):
    data = pd.read_csv(path)
    for name, value in cells.items():
        data.loc[row, name] = value
    data.to_csv(path, index=False)
    return path


def test_a_pair_of_which_one_is_empty_is_told_and_kept(tmp_path):
    rows = [(f"A man runs on day {n}.", f"Somebody runs {n}.", "ab"[n % 2]) for n in range(12)]
    rows[3:5] = [("A dog runs there.", "", "a"), ("", "A cat runs there.", "b")]
    path = tmp_path / "pairs.csv"
    pd.DataFrame(rows, columns=["premise", "hypothesis", "label"]).to_csv(path, index=False)
    found = preview(path)
    assert (found.num_refused, dict(found.problem_counts)) == (0, {"half a pair": 2})
    assert [(one.where, one.message.partition(" is empty")[0]) for one in found.problems] == [
        ("row 5", "The text in column 'hypothesis'"),
        ("row 6", "The text in column 'premise'"),
    ]
    # A title that is missing is nothing to be told of.
    path.write_text(path.read_text().replace("premise", "title"))
    assert preview(path, text=("title", "hypothesis")).problem_counts == {}


def test_texts_are_joined_in_the_order_that_is_said(posts):
    assert read(posts, text=("title", "body"))[3].text == "title 3\n\n" + BODY.format(3)
    assert read(posts, text=("body", "title"))[3].text == BODY.format(3) + "\n\ntitle 3"


def test_every_column_is_shown_as_text(posts):
    found = preview(posts, text=("title", "body"))
    assert (found.kind, found.options.text) == ("text", ("title", "body"))
    assert [column.role for column in found.columns] == ["text", "text", "label"]
    assert [column.kind for column in found.columns][:2] == ["text", "text"]
    assert found.rows[0].text == "title 0\n\n" + BODY.format(0)


def test_an_empty_text_leaves_no_separator_and_only_all_empty_is_refused(posts):
    edit(edit(posts, 2, title=None), 4, title=" ", body=None)
    found = {record.row: record.text for record in read(posts, text=("title", "body"))}
    assert found[4] == BODY.format(2)
    assert [(p.row, p.what) for p in problems(posts, text=("title", "body"))] == [(6, "empty text")]
    assert "'title', 'body' are all empty" in problems(posts, text=("title", "body"))[0].message


def test_the_key_is_that_of_the_joined_text_and_one_column_keeps_its_own(posts):
    alone, tupled = read(posts, text="body")[0], read(posts, text=("body",))[0]
    assert alone.key() == tupled.key() == content_key(BODY.format(0))
    joined = read(posts, text=("title", "body"))[0]
    assert joined.key() == content_key("title 0\n\n" + BODY.format(0))


def test_a_text_that_is_too_long_together_is_refused(posts, monkeypatch):
    monkeypatch.setattr(values, "MAX_TEXT", 50)
    assert len(read(posts, text="body")) == 20
    assert {p.what for p in problems(posts, text=("title", "body"))} == {"text too long"}


def test_one_column_is_guessed_and_the_others_are_told(posts):
    found = preview(edit(posts, 0, title="a first title that is long and says it all"))
    assert found.options.text == "body"
    data = pd.read_csv(posts)
    data["title"] = [f"a title that is as long as a sentence {n}" for n in range(20)]
    data.to_csv(posts, index=False)
    found = preview(posts)
    assert found.options.text == "body"
    note = "Column 'title': left out: a text; --text title,body takes it in."
    assert note in found.notes


def test_a_name_with_a_comma_is_one_column(posts):
    data = pd.read_csv(posts).rename(columns={"title": "title, or so"})
    data.to_csv(posts, index=False)
    assert read(posts, text=("title, or so", "body"))[0].text.startswith("title 0\n\n")
    with pytest.raises(InputError, match=r"""no column 'title'.*quoted twice: '"title, or so"'"""):
        read(posts, text=("title", "or so"))


def test_a_misspelled_column_is_told(posts):
    with pytest.raises(InputError, match=r"no column 'bodi', named as the text.*mean 'body'"):
        read(posts, text=("title", "bodi"))


def test_a_text_that_is_the_label_is_refused(posts):
    with pytest.raises(ConfigurationError, match="only copy it"):
        ImportOptions(text=("title", "label"), label="label")
    data = pd.read_csv(posts)
    data["says"] = data["label"].map({"a": "it is an a", "b": "it is a b"})
    data.to_csv(posts, index=False)
    with pytest.raises(InputError, match="'says' is the label"):
        preview(posts, text=("title", "says"))


@pytest.mark.parametrize(("names", "told"), [(("a", "a"), "'a' twice"), (("a", " "), "empty")])
def test_texts_named_twice_or_not_at_all_are_refused(names, told):
    with pytest.raises(ConfigurationError, match=rf"{told}.*--text"):
        ImportOptions(text=names)


@pytest.mark.parametrize(
    ("text", "stored"), [("body", "body"), (("body",), "body"), (("a", "b"), ["a", "b"])]
)
def test_options_are_stored_as_ever_for_one_column_and_as_a_list_for_several(text, stored):
    options = ImportOptions(text=text, columns=("a", "b", "body"))
    kept = json.loads(json.dumps(options.to_json()))
    assert kept == {"text": stored, "columns": ["a", "b", "body"]}
    assert ImportOptions.from_json(kept) == options


def test_no_text_column_means_that_it_is_to_be_found():
    assert ImportOptions(text=()) == ImportOptions()
    assert ImportOptions().text_columns == ()
