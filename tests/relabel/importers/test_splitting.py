from __future__ import annotations

import numpy as np
import pytest

from relabel.importers.plan import split_examples


def split(labels: list[int], share: float, *, stratified: bool = True, both: bool = True, seed=0):
    numbers = np.array(labels, dtype=np.int32)
    codes = split_examples(numbers, share=share, seed=seed, stratified=stratified, both=both)
    assert codes.shape == numbers.shape
    return codes.tolist()


@pytest.mark.parametrize("labels", [[0, 0], [0, 1], [0, 1, 2, 3], [0] * 9])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("stratified", [False, True])
def test_something_is_left_to_train_with_and_to_test_with(
    labels: list[int], share: float, stratified: bool
):
    assert set(split(labels, share, stratified=stratified)) == {0, 1}


def test_where_one_split_may_be_empty_the_share_is_taken_as_it_is():
    assert split([0, 0, 0], 0.001, both=False) == [0, 0, 0]
    assert split([0, 0, 0], 0.999, both=False) == [1, 1, 1]
    assert split([0], 0.001) == [0]
    assert split([], 0.5) == []


def test_every_class_gives_its_share_and_a_class_of_one_stays_in_training():
    labels = [0] * 20 + [1] * 10 + [2]
    for seed in range(5):
        codes = np.array(split(labels, 0.2, seed=seed))
        assert [int(codes[np.array(labels) == label].sum()) for label in (0, 1, 2)] == [4, 2, 0]
    drawn = [
        sum(split(labels, 0.2, stratified=False, seed=seed)[20:30]) for seed in range(20)
    ]  # of the class of ten
    assert len(set(drawn)) > 1
    assert {sum(split(labels, 0.2, stratified=False, seed=seed)) for seed in range(20)} == {6}


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_every_class_has_an_example_to_train_with(share: float):
    labels = [0] * 20 + [1] * 2 + [2]
    for seed in range(5):
        codes = split(labels, share, seed=seed)
        kept = {label for label, code in zip(labels, codes, strict=True) if code == 0}
        assert kept == {0, 1, 2}
        assert codes[:20].count(1) == 20 * share


def test_the_seed_alone_decides():
    labels = [0, 1] * 20
    assert split(labels, 0.25, seed=3) == split(labels, 0.25, seed=3)
    assert split(labels, 0.25, seed=3) != split(labels, 0.25, seed=4)
