from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relabel.features.records import flip_labels
from tracin_core.errors import ConfigurationError


@given(
    size=st.integers(0, 60),
    num_classes=st.integers(2, 12),
    noise=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_exactly_the_asked_share_becomes_another_class(size, num_classes, noise, seed):
    labels = np.arange(size) % num_classes
    flipped = flip_labels(labels, num_classes, noise=noise, seed=seed)
    assert (flipped != labels).sum() == round(noise * size)
    assert ((flipped >= 0) & (flipped < num_classes)).all()
    np.testing.assert_array_equal(labels, np.arange(size) % num_classes)


def test_the_seed_decides_the_errors():
    labels = np.zeros(100, dtype=np.int64)
    first, again, other = (flip_labels(labels, 5, noise=0.3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_every_wrong_class_is_as_likely():
    labels = np.full(8000, 2)
    flipped = flip_labels(labels, 5, noise=1.0, seed=0)
    counts = np.bincount(flipped, minlength=5)
    # Binomial deviation is 39 here; four of them.
    np.testing.assert_allclose(counts, [2000, 2000, 0, 2000, 2000], atol=155)


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
def test_a_share_outside_of_zero_to_one_is_refused(noise):
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        flip_labels(np.zeros(3, dtype=np.int64), 2, noise=noise, seed=0)


def test_a_single_class_cannot_be_flipped():
    with pytest.raises(ConfigurationError, match="no other class"):
        flip_labels(np.zeros(10, dtype=np.int64), 1, noise=0.5, seed=0)
