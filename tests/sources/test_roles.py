"""What columns are taken for, in tables as people have them."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.sources.builders import preview, problems, read
from tracin_core.errors import InputError

TEXTS = [f"the text of number {n} is this one" for n in range(60)]
SORTED = [n // 30 for n in range(60)]
SIZES = [n * 7 % 60 / 3 for n in range(60)]


def save(tmp_path, **columns):
    path = tmp_path / "data.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["Unnamed: 0", "__index_level_0__", "nr", "PassengerId"])
def test_a_column_that_counts_the_rows_is_no_input(tmp_path, name):
    path = save(tmp_path, **{name: range(60), "size": SIZES, "label": SORTED})
    assert preview(path).options.features == ("size",)
    assert preview(path, features=(name, "size")).options.features == (name, "size")


def test_the_index_of_a_shuffled_table_is_no_input(tmp_path):
    numbers = [n * 7 % 60 for n in range(60)]
    path = save(tmp_path, **{"Unnamed: 0": numbers, "size": SIZES, "label": SORTED})
    assert preview(path).options.features == ("size",)


def test_a_count_may_be_the_time_of_a_measure(tmp_path):
    path = save(tmp_path, month=range(60), size=SIZES, sold=[n / 7 for n in range(60)])
    assert preview(path, target="sold").options.features == ("month", "size")


@pytest.mark.parametrize(
    "name", ["sentiment_label", "className", "class_id", "Kategorie", "étiquette", "News Topic"]
)
def test_labels_are_found_by_what_people_call_them(tmp_path, name):
    users = [f"user {n}" for n in range(60)]
    path = save(tmp_path, **{"user": users, "stars": SORTED, "body": TEXTS, name: SORTED})
    found = preview(path)
    assert (found.options.label, found.options.text) == (name, "body")


def test_two_columns_that_end_like_a_label_are_asked_for(tmp_path):
    path = save(tmp_path, a_label=SORTED, b_label=SORTED, body=TEXTS)
    with pytest.raises(InputError, match=r"cannot be told.*'a_label' \(0, 1\), 'b_label' \(0, 1\)"):
        preview(path)


def test_what_could_be_the_label_is_told(tmp_path):
    path = save(tmp_path, size=SIZES, plan=["A", "B", "C"] * 20, churn=["yes", "no"] * 30)
    with pytest.raises(InputError, match=r"'plan' \(A, B, C\), 'churn' \(yes, no\)\. Name"):
        preview(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n", "no row below them"),
        ("text,label\none,two,three\na,b,c,d\n", r"row 2: It has 3 fields, expected 2"),
    ],
)
def test_a_table_without_a_row_says_why(tmp_path, content, message):
    path = tmp_path / "data.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        preview(path)


def test_nan_among_numbers_is_no_class(tmp_path):
    path = tmp_path / "data.csv"
    labels = ["nan" if n == 7 else str(n % 2) for n in range(30)]
    path.write_text("text,label\n" + "".join(f"{TEXTS[n]},{labels[n]}\n" for n in range(30)))
    assert preview(path).classes == ("0", "1")
    assert [(p.row, p.what) for p in problems(path)] == [(9, "no label")]


def test_numbers_with_many_words_are_told(tmp_path):
    path = tmp_path / "data.csv"
    sizes = ["unknown" if n % 5 == 0 else f"{n / 7:.2f}" for n in range(60)]
    path.write_text(
        "size,weight,label\n" + "".join(f"{s},{n * 7 % 60},{n % 2}\n" for n, s in enumerate(sizes))
    )
    assert any("48 of 60 rows, and words such as 'unknown'" in n for n in preview(path).notes)
    assert read(path)[0].fields == {"size": "unknown", "weight": 0}


def test_few_rows_of_many_numbers_may_be_a_measure(tmp_path):
    path = save(tmp_path, body=TEXTS[:30], age=[20 + n * 7 % 26 for n in range(30)])
    assert any("--target age" in note for note in preview(path, label="age").notes)
