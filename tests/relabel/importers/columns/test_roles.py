"""What columns are taken for, in tables as people have them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.relabel.importers.builders import preview, problems, read
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
    with pytest.raises(
        InputError, match=r"few different values: 'plan' \(A, B, C\), 'churn' \(yes, no\)\. Name"
    ):
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


def test_pictures_written_as_rows_of_numbers_are_no_texts_and_the_way_out_works(tmp_path):
    rng = np.random.default_rng(0)
    cells = [" ".join(map(str, rng.integers(0, 256, 64))) for _ in range(20)]
    data = pd.DataFrame({"emotion": ["sad", "glad"] * 10, "pixels": cells})
    data.to_csv(tmp_path / "faces.csv", index=False)
    with pytest.raises(InputError, match="rows of numbers, not texts") as told:
        preview(tmp_path / "faces.csv", label="emotion")
    assert preview(tmp_path / "faces.csv", label="emotion", text="pixels").kind == "text"
    (code,) = re.findall(r"(np\.savez\(.*\)), for", str(told.value))
    code = code.replace("data[...]", "data['emotion']")
    code = code.replace("'data.npz'", repr(str(tmp_path / "data.npz")))
    exec(code, {"np": np, "data": data})  # noqa: S102 - our own message
    assert preview(tmp_path / "data.npz").class_counts == {"glad": 10, "sad": 10}


@pytest.mark.parametrize(
    ("name", "values", "train", "test"),
    [
        ("part", ("train", "test"), "train", "test"),
        ("is_test", ("False", "True"), "False", "True"),
        ("for training", ("1", "0"), "1", "0"),
    ],
)
def test_a_column_that_may_be_the_split_is_told(tmp_path, name, values, train, test):
    path = tmp_path / "data.csv"
    texts = [f"the text of number {n} is this one" for n in range(40)]
    parts = [values[n >= 30] for n in range(40)]
    pd.DataFrame({"text": texts, "label": ["a", "b"] * 20, name: parts}).to_csv(path, index=False)
    note = next(note for note in preview(path).notes if "training and testing" in note)
    assert f"--train-values {train} --test-values {test}" in note
    found = preview(path, split=name, train_values=(train,), test_values=(test,))
    assert found.counts == {"train": 30, "test": 10}
    assert not any("not followed" in note for note in found.notes)


def test_the_usage_of_a_competition_is_its_split(tmp_path):
    path = tmp_path / "data.csv"
    texts = [f"the text of number {n} is this one" for n in range(40)]
    usage = ["Training"] * 20 + ["PublicTest"] * 10 + ["PrivateTest"] * 10
    columns = {"text": texts, "label": ["a", "b"] * 20, "Usage": usage}
    pd.DataFrame(columns).to_csv(path, index=False)
    assert preview(path).counts == {"train": 20, "test": 20}


def test_pictures_among_texts_are_told(tmp_path):
    path = tmp_path / "data.csv"
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 6
    texts = [picture if n % 4 == 0 else f"the text of number {n} is this one" for n in range(40)]
    pd.DataFrame({"text": texts, "label": ["a", "b"] * 20}).to_csv(path, index=False)
    told = [note for note in preview(path).notes if "pictures written as letters" in note]
    assert told[0].startswith("10 of the first 40 cells of column 'text'")


@pytest.mark.parametrize("name", ["b/{}.txt", "speakers/speaker-{:02}/utterance-number-one.wav"])
def test_names_of_files_are_no_texts(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    names = [name.format(n) for n in range(40)]
    data = pd.DataFrame({"file_name": names, "label": ["a", "b"] * 20})
    data.to_csv("data.csv", index=False)
    with pytest.raises(InputError, match="holds names of files") as told:
        preview(tmp_path / "data.csv")
    named = preview(tmp_path / "data.csv", text="file_name")
    assert any("the names themselves are the texts" in note for note in named.notes)
    for one in names:
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text(f"what {one} says")
    (code,) = re.findall(r"in the cells: (.*), with pathlib", str(told.value))
    exec(code, {"data": data, "Path": Path})  # noqa: S102 - our own message
    assert preview(tmp_path / "with-texts.csv", text="text").class_counts == {"a": 20, "b": 20}
