from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from relabel.demos import load_demo
from relabel.errors import NotFoundError


@pytest.fixture(scope="module")
def digits():
    return load_demo("digits")


def test_all_digits_are_there_once_and_keep_their_pixels(digits):
    images = np.stack([np.asarray(Image.open(BytesIO(e.image))) for e in digits.examples])
    expected = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(i.tobytes() for i in images) == sorted(i.tobytes() for i in expected)
    assert len({example.key for example in digits.examples}) == len(digits.examples) == 1797


def test_the_split_has_the_same_share_of_every_class(digits):
    train, test = np.bincount(digits.true_labels), np.bincount(digits.given_labels("test"))
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.005)


def test_positions_count_from_zero_within_each_split(digits):
    for split in ("train", "test"):
        positions = [example.position for example in digits.of_split(split)]
        assert positions == list(range(len(positions)))


def test_only_train_labels_are_wrong_and_exactly_a_tenth_of_them(digits):
    clean = load_demo("digits", noise=0.0)
    np.testing.assert_array_equal(digits.true_labels, clean.given_labels("train"))
    np.testing.assert_array_equal(digits.given_labels("test"), clean.given_labels("test"))
    wrong = digits.given_labels("train") != digits.true_labels
    assert wrong.sum() == round(0.1 * len(wrong))


def test_another_seed_changes_labels_only(digits):
    other = load_demo("digits", seed=1)
    assert [e.key for e in other.examples] == [e.key for e in digits.examples]
    assert (other.given_labels("train") != digits.given_labels("train")).any()


def test_an_unknown_demo_is_answered_with_the_known_ones():
    with pytest.raises(NotFoundError, match="digits, docs"):
        load_demo("cats")
