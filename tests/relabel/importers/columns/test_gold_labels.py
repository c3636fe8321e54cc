"""Pairs of texts of which the data says that they have no gold label."""

from __future__ import annotations

import pandas as pd
import pytest

from relabel.importers.columns.gold_labels import find_gold_marks
from tests.relabel.importers.builders import preview

NAMES = ["contradiction", "entailment", "neutral"]


def save(tmp_path, labels, first="premise", column="label"):
    path = tmp_path / "pairs.csv"
    data = pd.DataFrame({first: [f"A man runs on day {n}." for n in range(len(labels))]})
    data["hypothesis"] = [f"Somebody moves, says {n}." for n in range(len(labels))]
    data[column] = labels
    data.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("names", "mark"), [(NAMES, "-"), (["0", "1", "2"], "-1"), (["0", "1", "2"], "-")]
)
def test_pairs_without_a_gold_label_are_left_out_and_counted(tmp_path, names, mark):
    path = save(tmp_path, [*names * 6, mark, mark])
    found = preview(path)
    assert (found.classes, found.num_usable) == (tuple(names), 18)
    assert dict(found.problem_counts) == {"no gold label": 2}
    assert found.problems[0].where == "row 20"
    assert f"--classes {','.join(names)},{mark}" in found.problems[0].message
    assert not [note for note in found.notes if "cannot be" in note]


def test_what_is_said_to_be_a_class_is_kept(tmp_path):
    path = save(tmp_path, [*NAMES * 6, "-", "-"])
    found = preview(path, classes=(*NAMES, "-"))
    assert (found.num_usable, found.class_counts["-"], found.num_refused) == (20, 2, 0)


def test_other_texts_keep_it_as_a_class_and_are_told(tmp_path):
    found = preview(save(tmp_path, [*NAMES * 6, "-", "-"], first="title"))
    assert found.class_counts["-"] == 2
    assert any("may mean that there is no label" in note for note in found.notes)


@pytest.mark.parametrize(
    ("labels", "declared", "marks"),
    [
        ({"yes", "no", "-"}, None, {"-"}),
        ({"+", "-", "0"}, None, set()),
        ({"ok", "-"}, None, set()),
        ({"-1", "0", "1"}, None, {"-"}),
        ({"-1", "0", "1", "2"}, None, {"-", "-1"}),
        ({"-1"}, ("no", "yes"), {"-", "-1"}),
    ],
)
def test_a_mark_is_none_where_it_may_be_a_class(labels, declared, marks):
    assert find_gold_marks(labels, declared) == marks


def test_a_gold_label_is_the_label_where_there_is_no_other(tmp_path):
    path = save(tmp_path, NAMES * 6, column="gold_label")
    assert preview(path).options.label == "gold_label"
    data = pd.read_csv(path)
    data.assign(label=NAMES * 6).to_csv(path, index=False)
    assert preview(path).options.label == "label"
