"""Search with torch gives what NumPy gives; here on the processor, which torch has anywhere."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings

from tests.tracin_core.retrieval.test_exact_search import SIDES, heavy_tailed, small_problems
from tracin_core.errors import RetrievalError
from tracin_core.retrieval import build_index, cuda
from tracin_core.retrieval.cuda import DeviceSearch
from tracin_core.retrieval.exact import CosineSearch, ExactSearch

MEASURES = {"influence": ExactSearch, "cosine": CosineSearch}


@given(small_problems())
@settings(max_examples=50, deadline=None)
def test_torch_agrees_with_numpy_ties_included(problem):
    vectors, queries, k, side = problem
    exact = ExactSearch(vectors)
    for measure, kind in MEASURES.items():
        found = DeviceSearch(exact, measure, "cpu").search(queries, k, side)
        expected = kind(vectors).search(queries, k, side)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("block", "resident"), [(9000, 0), (30_000, 1 << 31)])
def test_neither_blocks_nor_residence_change_the_answer(
    measure, side, block, resident, monkeypatch
):
    monkeypatch.setattr(cuda, "BLOCK_SCORES", block)
    monkeypatch.setattr(cuda, "RESIDENT_BYTES", resident)
    monkeypatch.setattr(cuda, "QUERIES_AT_ONCE", 40)
    vectors, queries = heavy_tailed(3000, 16), heavy_tailed(70, 16, seed=1, sigma=4)
    queries[3] = 0
    searcher = DeviceSearch(ExactSearch(vectors), measure, "cpu")
    for _ in range(2):  # the second time from where the vectors stayed
        found = searcher.search(queries, 10, side)
        expected = MEASURES[measure](vectors).search(queries, 10, side)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_one_query_has_one_row_of_neighbours():
    vectors = heavy_tailed(100, 8)
    found = DeviceSearch(ExactSearch(vectors), "influence", "cpu").search(vectors[3], 5)
    assert found.indices.shape == found.scores.shape == (5,)


def test_a_device_that_is_not_there_is_said_with_the_way_out():
    index = build_index(heavy_tailed(50, 4))
    with pytest.raises(RetrievalError, match=r"device 'cuda:99'.*Pass device='cpu'"):
        index.search(np.ones((2, 4)), device="cuda:99")


@pytest.mark.parametrize("measure", MEASURES)
def test_auto_takes_the_gpu_for_many_queries_only(measure, monkeypatch):
    """Another name of torch's processor stands for the GPU."""
    monkeypatch.setattr("tracin_core.retrieval.index.find_gpu", lambda: "cpu:0")
    searched = []
    search = DeviceSearch.search

    def note(self, queries, *rest):
        searched.append(len(queries))
        return search(self, queries, *rest)

    monkeypatch.setattr(DeviceSearch, "search", note)
    index = build_index(heavy_tailed(500, 8))
    queries = heavy_tailed(300, 8, seed=1)
    for part in (queries, queries[:10], queries[0]):
        expected = index.search(part, 4, "opponents", measure=measure)
        found = index.search(part, 4, "opponents", measure=measure, device="auto")
        np.testing.assert_array_equal(found.indices, expected.indices)
    assert searched == [300]


@pytest.mark.gpu
def test_a_gpu_agrees_with_numpy():
    if cuda.find_gpu() is None:
        pytest.skip("needs a CUDA device")
    index = build_index(heavy_tailed(20_000, 64))
    queries = heavy_tailed(1000, 64, seed=1)
    for measure in MEASURES:
        for side in SIDES:
            expected = index.search(queries, 10, side, measure=measure)
            found = index.search(queries, 10, side, measure=measure, device="cuda")
            np.testing.assert_array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("side", SIDES)
def test_thousands_of_queries_are_answered_in_bounded_memory(measure, side):
    vectors, queries = heavy_tailed(20_000, 16), heavy_tailed(3000, 16, seed=1)
    index = build_index(vectors, "exact")
    tracemalloc.start()
    found = index.search(queries, 10, side, measure=measure)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60_000_000  # all scores at once would take 480 MB
    for row in (0, 1500, 2999):
        alone = index.search(queries[row], 10, side, measure=measure)
        np.testing.assert_array_equal(found.indices[row], alone.indices)
        np.testing.assert_array_equal(found.scores[row], alone.scores)
