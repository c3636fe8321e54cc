"""Names that numbers would merge, and lists of names."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.relabel.importers.builders import preview, problems, read

TEXTS = [f"the text of number {n} is this one" for n in range(60)]


def save(tmp_path, ending="csv", **columns):
    path = tmp_path / f"data.{ending}"
    data = pd.DataFrame(
        {"text": TEXTS} | {k: [v[n % len(v)] for n in range(60)] for k, v in columns.items()}
    )
    if ending == "csv":
        data.to_csv(path, index=False)
    elif ending == "parquet":
        data.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in data.to_dict("records")))
    return path


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ((1, 2), ("1", "2")),
        ((1.0, 2.0), ("1", "2")),
        (("1.0", "2.0"), ("1", "2")),
        ((1.5, 2.0), ("1.5", "2.0")),
        (("2.0", "1.10"), ("1.10", "2.0")),
        (("2.0", "1.10.1"), ("2.0", "1.10.1")),
        (("01", "1"), ("01", "1")),
        (("007", "7a"), ("007", "7a")),
        ((True, False), ("False", "True")),
        ((2**53 + 1, 2**53, 5), ("5", str(2**53), str(2**53 + 1))),
        (("1e3", "5"), ("5", "1e3")),
    ],
)
def test_the_same_value_is_the_same_class_in_every_format(tmp_path, values, classes):
    for ending in ("csv", "jsonl", "parquet"):
        found = preview(save(tmp_path, ending, label=values), label="label")
        assert set(found.classes) == set(classes), ending


def test_days_are_the_same_class_in_every_format(tmp_path):
    days = [f"2020-01-0{1 + n % 3}" for n in range(60)]
    moments = pd.to_datetime(pd.Series(days))
    for ending, values in (("csv", moments), ("jsonl", days), ("parquet", moments)):
        path = tmp_path / f"data.{ending}"
        data = pd.DataFrame({"text": TEXTS, "label": values})
        if ending == "csv":
            data.to_csv(path, index=False)
        elif ending == "parquet":
            data.to_parquet(path)
        else:
            data.to_json(path, orient="records", lines=True)
        assert set(preview(path).classes) == set(days), ending


def test_keys_that_fractions_cannot_tell_apart_are_told(tmp_path):
    path = tmp_path / "data.parquet"
    names = [float(2**53 + 2 * n) for n in range(60)]
    labels = ["a", "b"] * 30
    pd.DataFrame({"id": names, "text": TEXTS, "label": labels}).to_parquet(path)
    assert any("too large to tell neighbours" in note for note in preview(path, key="id").notes)


def test_versions_beside_fractions_are_kept_and_told(tmp_path):
    found = preview(save(tmp_path, label=("2.0", "1.10", "1.1")), label="label")
    assert found.class_counts == {"1.1": 20, "1.10": 20, "2.0": 20}
    assert any("as it is written" in n and "'2.0' beside '1.10'" in n for n in found.notes)


def test_whole_numbers_in_two_spellings_are_one_class_and_told(tmp_path):
    found = preview(save(tmp_path, label=("1.0", "1", "2")))
    assert found.class_counts == {"1": 40, "2": 20}
    assert any("'1.0' (20) is taken for '1' (20)" in note for note in found.notes)


def test_keys_in_two_spellings_are_two_keys_and_told(tmp_path):
    names = [f"{n // 2}.0" if n % 2 else str(n // 2) for n in range(60)]
    path = save(tmp_path, id=names, label=("a", "b"))
    assert [record.given_key for record in read(path, key="id")] == names
    assert any("'0.0' and also by '0'" in note for note in preview(path, key="id").notes)


def test_keys_with_a_point_everywhere_are_whole_numbers_and_told(tmp_path):
    path = save(tmp_path, id=[f"{n}.0" for n in range(60)], label=("a", "b"))
    assert read(path, key="id")[7].given_key == "7"
    assert any("'0.0' is read as '0'" in note for note in preview(path, key="id").notes)


def test_a_fraction_further_down_is_seen_too(tmp_path, monkeypatch):
    monkeypatch.setattr("relabel.importers.readers.table.profile_table.__defaults__", (10,))
    path = tmp_path / "data.csv"
    labels = ["2.0" if n % 2 else "3.0" for n in range(50)] + ["1.10"] * 10
    pd.DataFrame({"text": TEXTS, "label": labels}).to_csv(path, index=False)
    assert set(preview(path, label="label").classes) == {"2.0", "3.0", "1.10"}


def test_a_truth_is_read_like_the_label(tmp_path):
    path = save(tmp_path, label=("2.0", "1.10"), truth=("2.0", "1.10"))
    for record in read(path, label="label", truth="truth"):
        assert record.truth == record.label


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_lists_of_one_name_are_that_name(tmp_path, ending):
    lists = (["a"], ["b"], ["b", "b"], ["a", "b"], [])
    cells = tuple(map(json.dumps, lists)) if ending == "csv" else lists
    found = preview(save(tmp_path, ending, label=cells))
    assert found.class_counts == {"a": 12, "b": 24}
    assert found.problem_counts == {"several labels": 12, "no label": 12}


def test_lists_as_python_writes_them_are_lists(tmp_path):
    found = preview(save(tmp_path, label=("['a']", "['b']")))
    assert found.class_counts == {"a": 30, "b": 30}
    assert any("holds lists" in note for note in found.notes)


def test_marked_passages_are_no_classes(tmp_path):
    path = save(tmp_path, "jsonl", label=([[0, 3, "PER"]], ["a"], ["b"]))
    assert {problem.what for problem in problems(path)} == {"no label"}
    assert "marked passages" in problems(path)[0].message


def test_a_bracket_in_a_name_is_no_list(tmp_path):
    found = preview(save(tmp_path, label=("[a", "b]", "[c] d")))
    assert set(found.classes) == {"[a", "b]", "[c] d"}
