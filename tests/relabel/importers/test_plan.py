"""What becomes of each example: repeated, contradicting, split, made wrong on purpose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.importers.classes import OTHER_CLASS, UNKNOWN_TRUTH, KnownData
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.importers.plan import MULTIPLIED, SWAPPED, make_plan, plant_values
from relabel.importers.records import Problem, choose_problems
from relabel.importers.scan import find_duplicates, hash_key, survey_source
from tests.relabel.importers.builders import image_folder, pets, picture, preview


def save(tmp_path, **columns):
    path = tmp_path / "data.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def plan(path, known=None, **options):
    source = open_source(path, ImportOptions(**options))
    survey = survey_source(source)
    return survey, make_plan(source, survey, known)


TEXTS = [f"a text, number {n}" for n in range(40)]
LABELS = ["bad", "good"] * 20


def test_the_same_again_is_reported_and_the_first_kept(tmp_path):
    path = save(tmp_path, text=[*TEXTS, TEXTS[3], TEXTS[3]], label=[*LABELS, "good", "good"])
    found = preview(path)
    assert (found.num_usable, found.duplicates, found.num_refused) == (40, 2, 0)
    assert [(p.row, p.what) for p in found.problems] == [(42, "duplicate"), (43, "duplicate")]
    assert "The same content as row 5" in found.problems[0].message


def test_the_same_with_another_label_is_a_finding(tmp_path):
    path = save(tmp_path, text=[*TEXTS, TEXTS[3]], label=[*LABELS, "bad"])
    found = preview(path)
    assert found.problem_counts == {"label conflict": 1}
    assert "row 5, but with another label. One of the two is wrong" in found.problems[0].message
    assert found.duplicates == 1


def test_images_are_compared_byte_by_byte_and_named_by_file(tmp_path):
    root = image_folder(tmp_path / "pets", pets("test", "train"))
    (root / "test" / "cat" / "copy.png").write_bytes(picture(7))  # test/dog/... is 3 to 5
    found = preview(root)
    assert [(p.where, p.row) for p in found.problems] == [("test/cat/copy.png", None)]
    # Of two alike the one for training is kept, though the other is read first.
    assert "train/cat/1.png" in found.problems[0].message
    assert found.counts == {"train": 6, "test": 6}


def test_with_keys_the_same_content_is_two_examples_and_the_same_key_is_one(tmp_path):
    path = save(
        tmp_path,
        id=[*range(40), 40, 41, 5],
        text=[*TEXTS, TEXTS[0], TEXTS[1], "another text"],
        label=[*LABELS, "bad", "bad", "bad"],
    )
    found = preview(path, key="id", text="text", label="label")
    assert found.num_usable == 42
    told = {p.where: p for p in found.problems}
    assert told["row 44"].what == "label conflict"
    assert "The same key as row 7" in told["row 44"].message
    assert told["row 43"].what == "label conflict"
    assert not told["row 43"].refused
    assert "Both are imported" in told["row 43"].message


def test_a_table_is_compared_without_its_label(tmp_path):
    path = save(tmp_path, a=[*range(30), 0], b=[*range(30), 0.0], label=["x", "y"] * 15 + ["y"])
    assert preview(path).problem_counts == {"label conflict": 1}


def test_numbers_that_differ_conflict_too(tmp_path):
    path = save(tmp_path, a=[*range(30), 0], b=[*range(30), 0], y=[n / 3 for n in range(31)])
    found = preview(path, target="y")
    assert found.problem_counts == {"label conflict": 1}
    assert "another number" in found.problems[0].message


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30),
    st.sets(st.integers(0, 6)),
)
def test_sameness_agrees_with_a_dictionary(pairs, before):
    def digests(numbers):
        joined = b"".join(hash_key(str(number)) for number in numbers)
        return np.frombuffer(joined, dtype="V16")

    numbers = [number for number, _ in pairs]
    splits = np.array([is_test for _, is_test in pairs], dtype=np.int8)
    ordered = sorted(before)
    found = find_duplicates(digests(numbers), splits, digests(ordered))
    for place, number in enumerate(numbers):
        if number in before:
            assert found.known[place] == ordered.index(number)
            continue
        assert found.known[place] == -1
        alike = [n for n, other in enumerate(numbers) if other == number]
        assert found.first[place] == min(alike, key=lambda n: (splits[n], n))


def test_a_split_keeps_the_share_of_every_class_and_follows_the_seed(tmp_path):
    path = save(tmp_path, text=TEXTS, label=["a"] * 30 + ["b"] * 10)
    found = {seed: plan(path, seed=seed)[1] for seed in (0, 0, 1)}
    assert np.bincount(found[0].labels[found[0].splits == 1]).tolist() == [6, 2]
    assert (found[0].splits != found[1].splits).any()
    np.testing.assert_array_equal(found[0].splits, plan(path)[1].splits)
    assert plan(path, test_share=0.5)[1].counts() == {"train": 20, "test": 20}


def test_planted_labels_are_an_exact_share_of_training_and_remembered(tmp_path):
    path = save(tmp_path, text=TEXTS, label=LABELS)
    _, clean = plan(path)
    _, found = plan(path, plant=0.25)
    train = found.splits == 0
    wrong = found.labels != found.true_labels
    assert wrong[train].sum() == (found.ways > 0).sum() == 8
    np.testing.assert_array_equal(found.true_labels[train], clean.labels[train])
    np.testing.assert_array_equal(found.labels[~train], clean.labels[~train])
    assert (found.true_labels[~train] == UNKNOWN_TRUTH).all()
    assert any("8 of 32 train labels" in note for note in found.notes)


def test_planted_numbers_are_multiplied_or_swapped():
    values = np.random.default_rng(1).uniform(1, 100, 1000)
    planted, ways = plant_values(values, share=0.1, seed=0)
    assert (ways > 0).sum() == 100
    assert (ways == SWAPPED).sum() == 50
    np.testing.assert_array_equal(planted != values, ways > 0)
    ratios = planted[ways == MULTIPLIED] / values[ways == MULTIPLIED]
    assert {round(float(ratio), 6) for ratio in ratios} == {10.0, 0.1}
    swapped = ways == SWAPPED
    np.testing.assert_allclose(np.sort(planted[swapped]), np.sort(values[swapped]))
    np.testing.assert_array_equal(planted, plant_values(values, share=0.1, seed=0)[0])


def test_what_planting_leaves_as_it_was_is_not_counted_as_wrong():
    planted, ways = plant_values(np.zeros(100), share=0.5, seed=0)
    assert not planted.any()
    assert not ways.any()


def test_a_truth_column_is_kept_and_other_classes_are_wrong_in_any_case(tmp_path):
    truth = [*LABELS[:38], "", "something else"]
    path = save(tmp_path, text=TEXTS, label=LABELS, true_label=truth)
    _, found = plan(path, truth="true_label")
    assert found.classes == ("bad", "good")
    assert found.true_labels[-2:].tolist() == [UNKNOWN_TRUTH, OTHER_CLASS]
    np.testing.assert_array_equal(found.true_labels[:38], found.labels[:38])


def test_a_truth_of_numbers_is_kept(tmp_path):
    path = save(
        tmp_path, a=range(30), y=[n / 3 for n in range(30)], gold=[n / 4 for n in range(30)]
    )
    _, found = plan(path, target="y", truth="gold")
    np.testing.assert_allclose(found.true_values, np.arange(30) / 4)


def known_of(survey, found, count):
    kept = slice(0, count)
    return KnownData(
        classes=found.classes,
        digests=survey.digests[kept],
        labels=found.labels[kept].copy(),
        values=found.values[kept],
        has_test=True,
    )


def test_growth_keeps_classes_in_place_and_appends_new_ones(tmp_path):
    survey, before = plan(save(tmp_path, text=TEXTS, label=LABELS))
    known = known_of(survey, before, 40)
    path = save(tmp_path, text=[*TEXTS, "new 1", "new 2"], label=[*LABELS, "awful", "good"])
    _, found = plan(path, known)
    assert found.classes == ("bad", "good", "awful")
    assert found.classes_added == ("awful",)
    assert found.num_known == 40
    assert np.flatnonzero(found.kept).tolist() == [40, 41]


def test_a_label_that_changed_in_the_data_is_reported(tmp_path):
    survey, before = plan(save(tmp_path, text=TEXTS, label=LABELS))
    known = known_of(survey, before, 40)
    _, found = plan(save(tmp_path, text=TEXTS, label=["good", *LABELS[1:]]), known)
    assert found.problems.counts == {"changed in the data": 1}
    assert found.problems.kept[0].row == 2
    assert "than 'bad'" in found.problems.kept[0].message
    assert not found.kept.any()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_new_examples_go_to_training(tmp_path, count):
    survey, before = plan(save(tmp_path, text=TEXTS, label=LABELS))
    path = save(
        tmp_path,
        text=[*TEXTS, *(f"new {n}" for n in range(count))],
        label=[*LABELS, *["bad"] * count],
    )
    _, found = plan(path, known_of(survey, before, 40))
    assert found.counts() == {"train": count - count // 5, "test": count // 5}


def test_a_survey_holds_a_few_bytes_of_each_example(tmp_path):
    survey, _ = plan(save(tmp_path, text=TEXTS, label=LABELS))
    arrays = [v for v in vars(survey).values() if isinstance(v, np.ndarray)]
    distinct = {id(array): array for array in arrays}.values()
    assert sum(array.nbytes for array in distinct) == 40 * (16 + 8 + 1 + 2 * 4 + 2 * 8)


def test_many_problems_are_counted_and_few_are_kept(tmp_path):
    path = save(tmp_path, text=[*TEXTS, *["  "] * 400], label=[*LABELS, *["bad"] * 400])
    found = preview(path, text="text", label="label")
    assert found.problem_counts == {"empty text": 400}
    assert len(found.problems) == 50


def test_the_problems_that_are_shown_are_of_every_kind():
    many = [Problem(row, f"row {row}", "the same", "duplicate") for row in range(30)]
    few = [Problem(row, f"row {row}", "no label", "no label") for row in range(30, 32)]
    shown = choose_problems([*many, *few], 10)
    assert [problem.row for problem in shown] == [*range(8), 30, 31]
