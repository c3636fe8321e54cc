from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tracin_core.retrieval.annoy_bands import Scan
from tracin_core.retrieval.exact import find_largest, scale_queries, scale_query


def make_scan(vectors):
    """Sort the vectors as a scan wants them, in float32."""
    vectors = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    order = np.argsort(-norms, kind="stable")
    return Scan(vectors[order], norms[order])


def heavy_tailed(count, dimensions, seed=0, sigma=1.5):
    generator = np.random.default_rng(seed)
    norms = generator.lognormal(0, sigma, (count, 1))
    return (generator.standard_normal((count, dimensions)) * norms).astype(np.float32)


def find_both_ways(scan, queries, k, floors=None):
    """Candidates of each query, found among others and alone."""
    queries = np.asarray(queries, dtype=np.float64)
    directions, _ = scale_queries(queries, find_largest(queries))
    floors = np.full(len(queries), -np.inf) if floors is None else floors
    which, rows = scan.find_candidates(directions, floors, k)
    for number, query in enumerate(queries):
        direction, _ = scale_query(query, float(np.abs(query).max()))
        np.testing.assert_array_equal(direction.wide, directions.wide[number])
        together = rows[which == number]
        alone = scan.find_for_one(direction, float(floors[number]), k)
        yield scan.rows.astype(np.float64) @ direction.wide, together, alone


def assert_the_best_are_among(scores, candidates, k):
    """Every row that reaches the true k-th score, ties included."""
    kth = np.sort(scores)[::-1][: min(k, len(scores))][-1]
    assert set(np.flatnonzero(scores >= kth)) <= set(candidates.tolist())


@pytest.mark.parametrize("k", [1, 10, 300, 5000])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5, 5.0])
def test_the_true_best_are_among_the_candidates(sigma, k):
    scan = make_scan(heavy_tailed(3000, 16, sigma=sigma))
    for scores, *found in find_both_ways(scan, heavy_tailed(5, 16, seed=1), k):
        for candidates in found:
            assert_the_best_are_among(scores, candidates, k)
            assert len(candidates) <= max(8 * k, k + 20) * 5


@st.composite
def problems_with_ties(draw):
    """Small integers: many exact ties, duplicates and zero vectors."""
    count, dimensions = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    whole = st.integers(-3, 3).map(float)
    vectors = draw(hnp.arrays(np.float32, (count, dimensions), elements=whole))
    queries = draw(hnp.arrays(np.float64, (draw(st.integers(1, 4)), dimensions), elements=whole))
    queries[~queries.any(axis=1), 0] = 1
    return vectors, queries, draw(st.integers(1, 45))


@given(problems_with_ties())
@settings(max_examples=100, deadline=None)
def test_no_tie_is_missed(problem):
    vectors, queries, k = problem
    for scores, *found in find_both_ways(make_scan(vectors), queries, k):
        for candidates in found:
            assert_the_best_are_among(scores, candidates, k)


def test_one_vector_of_an_absurd_norm_does_not_make_all_others_candidates():
    vectors = heavy_tailed(3000, 16)
    vectors[1234] *= 1e9
    for scores, *found in find_both_ways(make_scan(vectors), heavy_tailed(3, 16, seed=1), 10):
        for candidates in found:
            assert_the_best_are_among(scores, candidates, 10)
            assert len(candidates) < 200


@pytest.mark.parametrize("scale_", [1e-44, 1e-40, 1e-30, 1e30])
def test_tiny_and_huge_vectors_are_found_too(scale_):
    vectors = (heavy_tailed(600, 8, sigma=0.5).astype(np.float64) * scale_).astype(np.float32)
    vectors = vectors[vectors.any(axis=1)]
    for scores, *found in find_both_ways(make_scan(vectors), heavy_tailed(3, 8, seed=1), 5):
        for candidates in found:
            assert_the_best_are_among(scores, candidates, 5)


def test_what_is_below_a_known_score_is_not_looked_at():
    scan = make_scan(heavy_tailed(3000, 16))
    queries = heavy_tailed(4, 16, seed=1)
    first = [np.sort(scores)[-3] for scores, *_ in find_both_ways(scan, queries, 10)]
    for scores, *found in find_both_ways(scan, queries, 10, np.array(first)):
        for candidates in found:
            assert set(np.argsort(scores)[-3:]) <= set(candidates.tolist())
            assert len(candidates) < 10
