from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.exact import CosineSearch, ExactSearch, compute_norms

SIDES = ["proponents", "opponents"]


def brute_force(vectors, queries, k, side):
    """The slow, obvious version: all scores in float64, a stable sort."""
    scores = np.asarray(queries, dtype=np.float64) @ np.asarray(vectors, dtype=np.float64).T
    key = -scores if side == "proponents" else scores
    order = np.argsort(key, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def heavy_tailed(count, dimensions, seed=0, sigma=1.5):
    generator = np.random.default_rng(seed)
    norms = generator.lognormal(0, sigma, (count, 1))
    return (generator.standard_normal((count, dimensions)) * norms).astype(np.float32)


@st.composite
def small_problems(draw):
    """Small integers: many exact ties, duplicates and zero vectors."""
    count, dimensions = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    whole = st.integers(-3, 3).map(float)
    vectors = draw(hnp.arrays(np.float32, (count, dimensions), elements=whole))
    queries = draw(hnp.arrays(np.float32, (draw(st.integers(1, 4)), dimensions), elements=whole))
    return vectors, queries, draw(st.integers(1, 45)), draw(st.sampled_from(SIDES))


@given(small_problems())
@settings(max_examples=150, deadline=None)
def test_exact_search_agrees_with_brute_force_ties_included(problem):
    vectors, queries, k, side = problem
    found = ExactSearch(vectors).search(queries, k, side)
    indices, scores = brute_force(vectors, queries, k, side)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.scores, scores)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("block", [64, 1000, 1 << 21])
def test_block_size_never_changes_the_answer(monkeypatch, side, block):
    monkeypatch.setattr("tracin_core.retrieval.exact._BLOCK_SCORES", block)
    vectors, queries = heavy_tailed(3000, 16), heavy_tailed(7, 16, seed=1)
    found = ExactSearch(vectors).search(queries, 10, side)
    indices, scores = brute_force(vectors, queries, 10, side)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)


def test_thousands_of_queries_are_answered_as_one_by_one():
    vectors, queries = heavy_tailed(500, 8), heavy_tailed(1200, 8, seed=1)
    search = ExactSearch(vectors)
    together = search.search(queries, 5)
    for row in (0, 255, 256, 1199):
        alone = search.search(queries[row], 5)
        np.testing.assert_array_equal(alone.indices, together.indices[row])
        np.testing.assert_array_equal(alone.scores, together.scores[row])


def test_opponents_are_the_proponents_of_the_negated_query():
    search, query = ExactSearch(heavy_tailed(400, 8)), heavy_tailed(1, 8, seed=1)[0]
    opponents = search.search(query, 10, "opponents")
    proponents = search.search(-query, 10, "proponents")
    np.testing.assert_array_equal(opponents.indices, proponents.indices)
    np.testing.assert_array_equal(opponents.scores, -proponents.scores)


def test_reordering_the_train_vectors_reorders_the_answer():
    vectors, query = heavy_tailed(400, 8), heavy_tailed(1, 8, seed=1)[0]
    order = np.random.default_rng(0).permutation(400)
    plain, shuffled = ExactSearch(vectors).search(query), ExactSearch(vectors[order]).search(query)
    np.testing.assert_array_equal(order[shuffled.indices], plain.indices)
    np.testing.assert_array_equal(shuffled.scores, plain.scores)


def test_equal_vectors_among_many_come_in_the_order_of_their_positions():
    row = heavy_tailed(1, 33)
    found = ExactSearch(np.repeat(row, 5000, axis=0)).search(row[0], 50)
    np.testing.assert_array_equal(found.indices, np.arange(50))
    assert len(set(found.scores.tolist())) == 1


def test_a_zero_query_ties_with_everything_and_lists_the_first_positions():
    found = ExactSearch(heavy_tailed(30, 4)).search(np.zeros(4), 3, "opponents")
    assert found.indices.tolist() == [0, 1, 2]
    assert found.scores.tolist() == [0, 0, 0]


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e25, 1e38])
def test_queries_far_outside_the_usual_range_find_the_same_neighbours(scale):
    search, query = ExactSearch(heavy_tailed(400, 8)), heavy_tailed(1, 8, seed=1)[0]
    query = query.astype(np.float64)
    np.testing.assert_array_equal(search.search(query * scale)[0], search.search(query)[0])


def test_a_tiny_gradient_is_no_zero_vector():
    vectors = np.array([[1e-30, 0], [0, 0], [-1e-30, 0]], dtype=np.float32)
    assert compute_norms(vectors)[0] == pytest.approx(1e-30, rel=1e-6)
    assert ExactSearch(vectors).search(np.array([1.0, 0.0]), 3).indices.tolist() == [0, 1, 2]


def test_more_neighbours_than_vectors_returns_all_whatever_their_sign():
    found = ExactSearch(np.array([[1.0], [-2.0]])).search(np.array([1.0]), 10, "opponents")
    assert found.indices.tolist() == [1, 0]
    assert found.scores.tolist() == [-2.0, 1.0]


def test_a_memory_mapped_matrix_stays_on_disk(tmp_path):
    vectors = heavy_tailed(300, 8)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    search = ExactSearch(mapped)
    assert np.shares_memory(search.vectors, mapped)
    np.testing.assert_array_equal(
        search.search(vectors[3])[0], ExactSearch(vectors).search(vectors[3])[0]
    )


@pytest.mark.parametrize("side", SIDES)
def test_cosine_agrees_with_brute_force_over_normalised_vectors(side):
    vectors, queries = heavy_tailed(2500, 16), heavy_tailed(5, 16, seed=1)
    vectors[7] = 0
    found = CosineSearch(vectors).search(queries, 10, side)
    wide = vectors.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-300)
    indices, scores = brute_force(
        unit, queries / np.linalg.norm(queries, axis=1, keepdims=True).astype(np.float64), 10, side
    )
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)


def test_the_cosine_with_a_zero_vector_is_zero():
    found = CosineSearch(np.array([[0.0, 0.0], [3.0, 4.0]])).search(np.array([6.0, 8.0]), 2)
    assert found.indices.tolist() == [1, 0]
    assert found.scores == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_its_position(bad):
    vectors = heavy_tailed(50, 4)
    vectors[17, 2] = bad
    with pytest.raises(RetrievalError, match="position 17"):
        ExactSearch(vectors)


@pytest.mark.parametrize(
    ("query", "k", "side"),
    [
        (np.zeros(3), 1, "proponents"),
        (np.zeros((2, 2, 4)), 1, "proponents"),
        (np.full(4, np.nan), 1, "proponents"),
        (np.zeros(4), 0, "proponents"),
        (np.zeros(4), 1, "friends"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(query, k, side):
    with pytest.raises(RetrievalError, match="expected"):
        ExactSearch(heavy_tailed(20, 4)).search(query, k, side)


@pytest.mark.parametrize("vectors", [np.zeros((0, 4)), np.zeros(4), np.array([["a"]])])
def test_what_is_no_matrix_of_numbers_is_refused(vectors):
    with pytest.raises(RetrievalError, match="expected a matrix"):
        ExactSearch(vectors)
