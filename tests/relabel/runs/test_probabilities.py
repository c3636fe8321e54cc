from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from relabel.runs.folder import (
    LARGEST_STORED,
    STORED_CLASSES,
    count_columns,
    find_largest,
    pack_probabilities,
    unpack_probabilities,
)


@settings(max_examples=25, deadline=None)
@given(classes=st.integers(2, 600), count=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_largest_survive_and_few_classes_survive_whole(classes, count, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.1), count).astype(np.float32)
    stored = pack_probabilities(probabilities)
    assert stored.shape == (count, count_columns(classes))
    np.testing.assert_array_equal(find_largest(stored, classes), probabilities.max(axis=1))
    for row, whole in zip(stored, probabilities, strict=True):
        found = unpack_probabilities(row, classes)
        kept = classes if classes <= STORED_CLASSES else LARGEST_STORED
        threshold = np.sort(whole)[-kept]
        above = whole > threshold
        np.testing.assert_array_equal(found[above], whole[above])
        assert ((found == whole) | (found == 0)).all()


def test_ten_thousand_classes_take_half_a_kilobyte_an_example():
    stored = pack_probabilities(np.full((3, 10_000), 1e-4, dtype=np.float32))
    assert stored.nbytes // 3 == 512
