"""Agreement as it comes out by hand, and as the paper's own example has it."""

from __future__ import annotations

import numpy as np
import pytest

from relabel.db.project_rules import Project
from relabel.db.schema import utc_now
from relabel.db.team.opinions import AnswerPair
from relabel.team.agreement import (
    compute_answer_kappa,
    compute_cohen_kappa,
    compute_fleiss_kappa,
    measure_agreement,
)

# Fourteen raters of ten subjects and five categories; the kappa is 0.210 by hand:
# the shares of agreeing pairs sum to 3.780, so P = 0.378, and P_e = 0.213.
FLEISS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def test_the_kappa_over_all_is_that_of_a_calculation_by_hand():
    assert compute_fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)


def test_the_kappa_over_all_is_the_weighted_mean_of_those_of_the_answers():
    # Weighted by p (1 - p), as the paper has it.
    shares = FLEISS.sum(axis=0) / FLEISS.sum()
    weights = shares * (1 - shares)
    kappas = [compute_answer_kappa(FLEISS, column) for column in range(5)]
    mean = float((np.array(kappas) * weights).sum() / weights.sum())
    assert mean == pytest.approx(compute_fleiss_kappa(FLEISS))


def test_the_kappa_of_two_people_is_that_of_a_calculation_by_hand():
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert compute_cohen_kappa(first, second) == pytest.approx((0.7 - 0.5) / 0.5)
    assert compute_cohen_kappa(["a", "a"], ["b", "b"]) == 0
    assert compute_cohen_kappa(["a", "a"], ["a", "a"]) is None
    assert compute_fleiss_kappa(np.array([[2], [2]])) is None
    assert compute_fleiss_kappa(np.zeros((0, 0), dtype=int)) is None
    assert compute_answer_kappa(np.array([[2, 0], [2, 0]]), 0) is None


def project(task="classification"):
    classes = ("cat", "dog") if task == "classification" else ()
    return Project(1, "p", "P", "text", classes, "", utc_now(), task)


def pair(first, second, answers, *, given=0, values=(None, None)):
    (one, label), (other, other_label) = answers
    return AnswerPair(
        example_id=1,
        key="k",
        text=None,
        media_path=None,
        given_label=given,
        given_value=None if values == (None, None) else 1.0,
        decision_id=1,
        first=first,
        first_action=one,
        first_label=label,
        first_value=values[0],
        second=second,
        second_action=other,
        second_label=other_label,
        second_value=values[1],
        version=1,
        is_open=True,
    )


KEEP, DOG, OUT = ("keep", None), ("relabel", 1), ("exclude", None)


def test_answers_are_labels_and_pairs_are_people_whoever_came_first():
    pairs = [
        pair("Ann", "Bob", (KEEP, KEEP)),
        pair("Bob", "Ann", (DOG, KEEP)),
        pair("Ann", "Bob", (DOG, DOG)),
        # Kept where the given label is "dog": the same answer as a correction to it.
        pair("Cleo", "Ann", (KEEP, KEEP), given=1),
        pair("Ann", "Cleo", (OUT, DOG)),
    ]
    found = measure_agreement(project(), pairs)
    assert (found.count, found.agreed) == (5, 3)
    assert [(one.first, one.second, one.count, one.agreed) for one in found.pairs] == [
        ("Ann", "Bob", 3, 2),
        ("Ann", "Cleo", 2, 1),
    ]
    # Ann: cat, cat, dog; Bob: cat, dog, dog. Observed 2/3, by chance 2/3 * 1/3 + 1/3 * 2/3 = 4/9.
    assert found.pairs[0].kappa == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))
    assert [(one.name, one.given) for one in found.answers] == [
        ("dog", 6),
        ("cat", 3),
        ("Excluded", 1),
    ]
    # P = 3/5, P_e = 0.36 + 0.09 + 0.01.
    assert found.kappa == pytest.approx((0.6 - 0.46) / 0.54)


def test_of_numbers_two_corrections_agree_if_they_are_the_same():
    same = pair("Ann", "Bob", (("relabel", None),) * 2, values=(2.0, 2.0))
    other = pair("Ann", "Bob", (("relabel", None),) * 2, values=(2.0, 3.0))
    assert same.agrees
    assert not other.agrees
    found = measure_agreement(project("regression"), [same, other])
    assert (found.count, found.agreed) == (2, 1)


def test_without_pairs_there_is_nothing_to_agree_about():
    found = measure_agreement(project(), [])
    assert (found.count, found.agreed, found.kappa, found.pairs, found.answers) == (
        0,
        0,
        None,
        [],
        [],
    )
