from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import Effort
from tracin_core.retrieval.annoy_build import build_bands, make_annoy, open_bands
from tracin_core.retrieval.bands import cut_bands
from tracin_core.retrieval.exact import ExactSearch

pytest.importorskip("annoy", exc_type=ImportError)
SIDES = ["proponents", "opponents"]
EFFORT = Effort(candidates=50, search_k=2000)


def draw_vectors(count=4000, dimensions=24, seed=0, sigma=1.5):
    """Heavy-tailed norms around ten class directions."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((10, dimensions))
    directions = centres[generator.integers(0, 10, count)]
    directions = directions + generator.standard_normal((count, dimensions))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (directions * generator.lognormal(0, sigma, (count, 1))).astype(np.float32)


@pytest.fixture
def annoy_for_small_bands(monkeypatch):
    """Let bands as small as a test's be searched by Annoy rather than scanned."""
    monkeypatch.setattr("tracin_core.retrieval.annoy_build._SCANNED_NUMBERS", 0)


@pytest.fixture
def bands(annoy_for_small_bands):
    vectors = draw_vectors()
    return build_bands(vectors, ExactSearch(vectors).norms, EFFORT)


def count_annoys(bands):
    return sum(band.annoy is not None for band in bands.bands)


def share_found(found, truth):
    return np.mean(
        [np.isin(a, b).mean() for a, b in zip(found.indices, truth.indices, strict=True)]
    )


@pytest.mark.parametrize("side", SIDES)
def test_bands_find_the_true_neighbours_and_score_them_exactly(bands, side):
    assert count_annoys(bands) >= 3
    # Little heavy-tailed noise in the queries, so that the walk goes deep.
    queries = draw_vectors(40, seed=1)
    found, truth = (
        bands.search(queries, 10, side),
        ExactSearch(bands.vectors).search(queries, 10, side),
    )
    assert share_found(found, truth) >= 0.99
    products = np.einsum("mkd,md->mk", bands.vectors[found.indices].astype(float), queries)
    np.testing.assert_allclose(found.scores, products, rtol=1e-6)
    same = found.indices == truth.indices
    np.testing.assert_array_equal(found.scores[same], truth.scores[same])


def test_opponents_are_the_proponents_of_the_negated_query(bands):
    queries = draw_vectors(8, seed=1)
    opponents, proponents = bands.search(queries, 10, "opponents"), bands.search(-queries, 10)
    np.testing.assert_array_equal(opponents.indices, proponents.indices)
    np.testing.assert_array_equal(opponents.scores, -proponents.scores)


def test_many_queries_are_answered_as_one_by_one(bands):
    queries = draw_vectors(300, seed=1)
    together = bands.search(queries, 5)
    for row in (0, 150, 299):
        alone = bands.search(queries[row], 5)
        np.testing.assert_array_equal(alone.indices, together.indices[row])


def test_a_cold_query_finds_what_a_hot_one_finds(bands):
    query = draw_vectors(1, seed=1)[0].astype(np.float64)
    expected = bands.search(query).indices
    np.testing.assert_array_equal(bands.search(query * 1e-40).indices, expected)
    np.testing.assert_array_equal(bands.search(query * 1e30).indices, expected)


def test_the_walk_stops_where_no_later_band_can_win(bands, monkeypatch):
    visited, find = [], bands._find_candidates
    monkeypatch.setattr(
        bands, "_find_candidates", lambda band, *rest: visited.append(band) or find(band, *rest)
    )
    longest = bands.vectors[bands.bands[0].positions[0]]
    bands.search(longest, 1)
    assert len(visited) == 1


def test_zero_vectors_come_between_the_signs_and_by_position(annoy_for_small_bands):
    vectors = np.zeros((3000, 4), dtype=np.float32)
    vectors[100:103, 0] = [1, 2, -3]
    bands = build_bands(vectors, ExactSearch(vectors).norms, EFFORT)
    found = bands.search(np.array([1.0, 0, 0, 0]), 6)
    assert found.indices.tolist() == [101, 100, 0, 1, 2, 3]
    assert found.scores.tolist() == [2, 1, 0, 0, 0, 0]
    assert bands.search(np.zeros(4), 2).indices.tolist() == [0, 1]


def test_the_same_seed_builds_the_same_index(bands):
    again = build_bands(bands.vectors, ExactSearch(bands.vectors).norms, EFFORT)
    queries = draw_vectors(20, seed=2)
    for side in SIDES:
        np.testing.assert_array_equal(
            bands.search(queries, 10, side).indices, again.search(queries, 10, side).indices
        )


def test_saved_bands_answer_as_before_from_memory_maps(tmp_path, bands):
    norms = ExactSearch(bands.vectors).norms
    built = build_bands(bands.vectors, norms, EFFORT, folder=tmp_path)
    opened = open_bands(bands.vectors, norms, EFFORT, tmp_path)
    assert count_annoys(opened) == count_annoys(bands)
    queries = draw_vectors(20, seed=2)
    for side in SIDES:
        expected = bands.search(queries, 10, side)
        for other in (built, opened):
            found = other.search(queries, 10, side)
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("pattern", ["band-*.ann", "order.npy", "rows.npy", "bands.json"])
@pytest.mark.parametrize("damage", ["cut off", "missing"])
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path, bands, pattern, damage):
    norms = ExactSearch(bands.vectors).norms
    build_bands(bands.vectors, norms, EFFORT, folder=tmp_path)
    path = next(tmp_path.glob(pattern))
    content = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RetrievalError, match="Delete the folder and build the index again"):
        open_bands(bands.vectors, norms, EFFORT, tmp_path)


def test_missing_annoy_is_said_with_what_it_needs(monkeypatch):
    original = builtins.__import__

    def refuse(name, *rest, **keywords):
        if name == "annoy":
            raise ImportError("No module named 'annoy'")
        return original(name, *rest, **keywords)

    monkeypatch.delitem(sys.modules, "annoy", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RetrievalError, match=r"C\+\+ compiler.*Exact search works without it"):
        make_annoy(4)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5, 5.0])
@pytest.mark.parametrize("count", [1, 2, 511, 513, 20_000])
def test_bands_cover_every_vector_once_from_large_to_small(count, sigma):
    norms = np.sort(np.random.default_rng(0).lognormal(0, sigma, count))[::-1].copy()
    norms[count - count // 10 :] = 0
    cuts, head = cut_bands(norms)
    assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
    assert cuts[-1][1] == count
    assert all(start < stop for start, stop in cuts)
    assert head in [stop for _, stop in cuts]
    assert len(cuts) <= 20


def test_equal_norms_are_one_band_after_the_head():
    cuts, head = cut_bands(np.ones(20_000))
    assert cuts[-1] == (head, 20_000)
