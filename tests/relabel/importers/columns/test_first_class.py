"""Labels that are numbers into the classes' names, counted from 0 or from 1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from relabel.importers.columns import profiles
from relabel.importers.readers import table
from tests.relabel.importers.builders import preview, problems, read
from tracin_core.errors import ConfigurationError

NAMES = ("world", "sports", "business")


def save(tmp_path, labels, **more):
    rows = {"text": [f"the text of number {n}" for n in range(len(labels))], "label": labels}
    path = tmp_path / "data.csv"
    pd.DataFrame(rows | more).to_csv(path, index=False)
    return path


def classes_read(path, **said) -> list[str | None]:
    return [record.label for record in read(path, **said)]


@pytest.mark.parametrize("first", [0, 1])
def test_labels_are_counted_from_where_they_show_it(tmp_path, first):
    labels = [first + n % 3 for n in range(12)]
    path = save(tmp_path, labels)
    assert classes_read(path, classes=NAMES) == list(NAMES) * 4
    found = preview(path, classes=NAMES)
    assert found.options.first_class == first
    told = [note for note in found.notes if "counted from" in note]
    assert bool(told) == (first == 1)
    if told:
        assert "1 is 'world', 3 is 'business'" in told[0]


def test_where_they_do_not_show_it_they_are_counted_from_0_and_that_is_said(tmp_path):
    path = save(tmp_path, [1, 2] * 5)
    assert set(classes_read(path, classes=NAMES)) == {"sports", "business"}
    assert any("Neither 0 nor 3 is among" in note for note in preview(path, classes=NAMES).notes)
    assert set(classes_read(path, classes=NAMES, first_class=1)) == {"world", "sports"}
    told = preview(path, classes=NAMES, first_class=1).notes
    assert not any("counted from" in note for note in told)


def test_what_is_said_goes_before_what_is_found(tmp_path):
    path = save(tmp_path, [1, 2, 3] * 3)
    found = preview(path, classes=NAMES, first_class=0)
    assert found.problem_counts == {"unknown class": 3}
    assert "from 0 to 2" in problems(path, classes=NAMES, first_class=0)[0].message


def test_of_sorted_labels_the_last_ones_count_too(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "profile_table", lambda reader: profiles.profile_table(reader, 5))
    for first in (0, 1):
        labels = np.repeat([2, 1 + first, 3 * first], 4)
        found = classes_read(save(tmp_path, labels), classes=NAMES)
        assert found == [NAMES[label - first] for label in labels]


def test_the_truth_is_counted_like_the_labels(tmp_path):
    path = save(tmp_path, [1, 2, 3] * 4, true=[2, 2, 3] * 4)
    records = read(path, classes=NAMES, truth="true")
    assert [record.truth for record in records[:3]] == ["sports", "sports", "business"]


@pytest.mark.parametrize("first", [0, 1])
def test_arrays_are_read_alike(tmp_path, first):
    x, y = np.arange(24).reshape(12, 2) / 7, first + np.arange(12) % 3
    # The last class stands in the second split alone.
    parts = {"x_train": x[:2], "y_train": y[:2], "x_test": x[2:], "y_test": y[2:] * 1.0}
    np.savez(tmp_path / "data.npz", **parts)
    assert classes_read(tmp_path / "data.npz", classes=NAMES) == list(NAMES) * 4


def test_names_are_no_numbers(tmp_path):
    path = save(tmp_path, list(NAMES) * 3)
    assert preview(path, classes=NAMES).options.first_class is None


def test_another_number_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="Expected 0 or 1"):
        preview(save(tmp_path, [1, 2, 3] * 3), classes=NAMES, first_class=2)
