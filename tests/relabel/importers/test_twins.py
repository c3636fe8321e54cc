"""Class names that are one name in several spellings, several names in one, or none."""

from __future__ import annotations

import unicodedata

import pandas as pd
import pytest

from relabel.importers.classes import find_twins, plain_form, reveal
from tests.relabel.importers.builders import image_folder, pets, preview

TEXTS = [f"the text of number {n} is this one" for n in range(60)]


def save(tmp_path, *labels):
    path = tmp_path / "data.csv"
    data = {"text": TEXTS, "label": [labels[n % len(labels)] for n in range(60)]}
    pd.DataFrame(data).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "other",
    [
        "Caf\u00e9",
        "CAF\u00c9",
        "cafe\u0301",  # composed otherwise
        " caf\u00e9",
        "caf\u00e9\u200b",
        "\ufeffcaf\u00e9",
        "ca\u00adf\u00e9",
        "caf\u00e9.",
        "\uff43\uff41\uff46\u00e9",  # full width
        "c\u0430f\u00e9",  # a Cyrillic letter
        '"caf\u00e9"',
    ],
)
def test_spellings_of_a_name_are_twins(other):
    assert plain_form(other) == plain_form("caf\u00e9")
    assert find_twins(["caf\u00e9", "tea", other]) == [["caf\u00e9", other]]


@pytest.mark.parametrize(
    ("one", "other"),
    [("New York", "New\u00a0York"), ("New York", "new  york"), ("sci-fi", "sci_fi"),
     ("sci-fi", "Sci Fi"), ("a\u2013b", "a-b")],
)  # fmt: skip
def test_blanks_and_hyphens_make_no_other_name(one, other):
    assert plain_form(one) == plain_form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "A-"), ("A", "A+"), ("C", "C++"), ("C", "C#"), ("1", "-1"), ("1", "01"), ("1", "1.0"),
     ("+", "-"), ("ab", "a b"), ("cat", "cats"), ("\U0001f3f4\U000e0067\U000e0062",
     "\U0001f3f4\U000e0073\U000e0063"), ("NYC", "NY")],
)  # fmt: skip
def test_names_that_mean_something_else_are_no_twins(one, other):
    assert plain_form(one) != plain_form(other)


def test_all_groups_are_told_with_their_numbers(tmp_path):
    labels = ("caf\u00e9", "New York", "cafe\u0301", "caf\u00e9\u200b", "new york", "pub")
    found = preview(save(tmp_path, *labels))
    assert len(found.classes) == 6
    told = next(note for note in found.notes if "--merge-twins" in note)
    assert "5 of the 6 class names look like 2 classes" in told
    for shown in (r"'cafe\u0301' (10)", r"'caf\xe9\u200b' (10)", "'New York' (10)"):
        assert shown.replace(r"\xe9", "\u00e9") in told
    assert "'new york' (10)" in told


def test_twins_are_merged_where_it_is_said(tmp_path):
    labels = ("caf\u00e9", "caf\u00e9", "Caf\u00e9", "cafe\u0301", "tea", "Tea\u200b")
    found = preview(save(tmp_path, *labels), merge_twins=True)
    assert found.class_counts == {"caf\u00e9": 40, "tea": 20}
    assert {row.answer for row in found.rows} == {"caf\u00e9", "tea"}
    told = next(note for note in found.notes if "merged" in note)
    assert r"'cafe\u0301' (10)" in told
    assert not any("look like" in note for note in found.notes)


def test_a_truth_is_merged_like_the_labels(tmp_path):
    path = tmp_path / "data.csv"
    labels, truths = ["pos", "neg", "Pos"] * 20, ["POS", "neg", "neg"] * 20
    pd.DataFrame({"text": TEXTS, "label": labels, "true_label": truths}).to_csv(path, index=False)
    from relabel.importers.detect import open_source
    from relabel.importers.options import ImportOptions
    from relabel.importers.plan import make_plan
    from relabel.importers.scan import survey_source

    source = open_source(path, ImportOptions(truth="true_label", merge_twins=True))
    plan = make_plan(source, survey_source(source))
    assert plan.classes == ("neg", "pos")
    assert list(plan.labels[:3]) == [1, 0, 1]
    assert list(plan.true_labels[:3]) == [1, 0, 0]


def test_folders_that_are_twins_are_told_and_merged(tmp_path):
    root = image_folder(tmp_path, [*pets(), "Cat /4.png", "cat\u200b/5.png"])
    assert any("'cat\\u200b' (1)" in note for note in preview(root).notes)
    assert preview(root, merge_twins=True).class_counts == {"cat": 5, "dog": 3}


def test_nothing_to_merge_is_said(tmp_path):
    notes = preview(save(tmp_path, "a", "b"), merge_twins=True).notes
    assert "--merge-twins found no class names to merge." in notes


@pytest.mark.parametrize(
    ("one", "other"),
    [("cat", "cats"), ("resume", "r\u00e9sum\u00e9"), ("1", "01"), ("1e3", "1000")],
)
def test_names_that_are_nearly_the_same_are_told_and_stay(tmp_path, one, other):
    found = preview(save(tmp_path, one, other, "else"), merge_twins=True)
    assert len(found.classes) == 3
    told = next(note for note in found.notes if "nearly the same" in note)
    assert f"'{one}' (20)" in told
    assert f"'{other}' (20)" in told


def test_invisible_parts_of_names_are_shown():
    assert reveal("a\u200bb") == r"'a\u200bb'"
    assert reveal("sp\u0430m") == r"'sp\u0430m'"
    assert reveal("New  York") == r"'New \x20York'"
    plain = ("na\u00efve", "\u043d\u0435\u0442", "\u732b", "a b")
    assert [reveal(name) for name in plain] == [f"'{name}'" for name in plain]
    assert unicodedata.normalize("NFD", "\u00e9") in "e\u0301"


def test_several_names_in_one_are_told(tmp_path):
    found = preview(save(tmp_path, "a", "b", "a|b", "c"))
    assert any("several names with '|' between: 'a|b' (15)" in note for note in found.notes)
    found = preview(save(tmp_path, "Arts, Entertainment", "Sports", "Health, Food"))
    assert not any("several names" in note for note in found.notes)


@pytest.mark.parametrize("form", ["{0}:0.{1}", "{0} (9{1}%)", "0.{1} {0}", "{{'{0}': 0.{1}}}"])
def test_names_with_a_confidence_are_told(tmp_path, form):
    labels = [form.format(("pos", "neg")[n % 2], n % 8 + 1) for n in range(16)]
    assert any("such as a confidence" in note for note in preview(save(tmp_path, *labels)).notes)


def test_names_that_may_mean_no_label_are_told_with_a_way_out_that_works(tmp_path):
    path = save(tmp_path, "NA", "yes", "no", "?")
    told = next(note for note in preview(path).notes if "there is no label" in note)
    assert "'?' (15), 'NA' (15)" in told
    assert told.endswith("--classes no,yes")
    assert preview(path, classes=("no", "yes")).class_counts == {"no": 15, "yes": 15}


def test_a_label_that_is_nearly_always_another_one_is_told(tmp_path):
    found = preview(save(tmp_path, *(f"name {n}x" for n in range(50))))
    assert any("50 classes for 60 examples" in note for note in found.notes)
