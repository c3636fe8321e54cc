from __future__ import annotations

import builtins
import json
import sys
from itertools import pairwise

import numpy as np
import pytest

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import Band, Effort, cut_bands
from tracin_core.retrieval.annoy_io import build_bands, make_annoy, open_bands
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
    monkeypatch.setattr("tracin_core.retrieval.annoy_io._SCANNED_NUMBERS", 0)


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


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("k", [1, 5, 10, 40])
def test_many_queries_are_answered_as_one_by_one(bands, k, side):
    queries = draw_vectors(300, seed=1)
    together = bands.search(queries, k, side)
    for row in (*range(20), 299):
        alone = bands.search(queries[row], k, side)
        np.testing.assert_array_equal(alone.indices, together.indices[row])
        np.testing.assert_array_equal(alone.scores, together.scores[row])
    in_a_row = bands.search(queries[:1], k, side)
    np.testing.assert_array_equal(in_a_row.indices, together.indices[:1])


@pytest.mark.parametrize(
    ("query", "k", "side"),
    [
        (np.zeros(3), 1, "proponents"),
        (np.full(24, np.nan), 1, "proponents"),
        (np.full((1, 24), np.inf), 1, "proponents"),
        (np.zeros(24), 0, "proponents"),
        (np.zeros(24), 1, "friends"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(bands, query, k, side):
    with pytest.raises(RetrievalError, match="expected"):
        bands.search(query, k, side)


def test_a_place_without_a_candidate_is_empty(bands):
    few = [Band(band.largest_norm, band.positions[:3], None, None) for band in bands.bands[:1]]
    bands.bands = few
    query = draw_vectors(1, seed=1)
    for found in (bands.search(query[0], 5), bands.search(np.repeat(query, 2, axis=0), 5)):
        indices = np.atleast_2d(found.indices)[0]
        assert (indices >= 0).tolist() == [True] * 3 + [False] * 2
        assert (indices[3:] == -1).all()
        assert np.isneginf(np.atleast_2d(found.scores)[0, 3:]).all()


def test_a_cold_query_finds_what_a_hot_one_finds(bands):
    query = draw_vectors(1, seed=1)[0].astype(np.float64)
    expected = bands.search(query).indices
    np.testing.assert_array_equal(bands.search(query * 1e-40).indices, expected)
    np.testing.assert_array_equal(bands.search(query * 1e30).indices, expected)


class NeverAsked:
    def get_nns_by_vector(self, vector, n, search_k=-1):
        raise AssertionError("a band was visited that cannot win")


@pytest.mark.parametrize("copies", [1, 2])
def test_the_walk_stops_where_no_later_band_can_win(bands, copies):
    head, later = bands.bands[0], bands.bands[1:]
    bands.bands = [head, *(Band(b.largest_norm, b.positions, None, NeverAsked()) for b in later)]
    longest = bands.vectors[head.positions[0]]
    found = bands.search(np.repeat(longest[None], copies, axis=0), 1)
    assert (found.indices == head.positions[0]).all()
    # The same bands are asked where they could win.
    bands.bands[0] = Band(head.largest_norm, head.positions[-1:], None, None)
    with pytest.raises(AssertionError, match="cannot win"):
        bands.search(np.repeat(longest[None], copies, axis=0), 10)


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


def test_bands_saved_with_the_head_in_pieces_are_opened_with_one_head(tmp_path, bands):
    # As earlier programs saved them.
    norms = ExactSearch(bands.vectors).norms
    build_bands(bands.vectors, norms, EFFORT, folder=tmp_path)
    layout = json.loads((tmp_path / "bands.json").read_text())
    head, descending = layout[0], np.sort(norms)[::-1]
    pieces = [
        head | {"start": start, "stop": stop, "largest_norm": float(descending[start])}
        for start, stop in [(0, 100), (100, 300), (300, head["stop"])]
    ]
    (tmp_path / "bands.json").write_text(json.dumps([*pieces, *layout[1:]]))
    opened = open_bands(bands.vectors, norms, EFFORT, tmp_path)
    assert len(opened.bands) == len(layout)
    queries = draw_vectors(20, seed=2)
    np.testing.assert_array_equal(
        opened.search(queries, 10).indices, bands.search(queries, 10).indices
    )


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


@pytest.mark.parametrize("scanned_rows", [0, 2000])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5, 5.0])
@pytest.mark.parametrize("count", [1, 2, 511, 513, 20_000])
def test_bands_cover_every_vector_once_from_large_to_small(count, sigma, scanned_rows):
    norms = np.sort(np.random.default_rng(0).lognormal(0, sigma, count))[::-1].copy()
    norms[count - count // 10 :] = 0
    cuts = cut_bands(norms, scanned_rows)
    assert [cut.start for cut in cuts] == [0, *(cut.stop for cut in cuts[:-1])]
    assert cuts[-1].stop == count
    assert all(cut.start < cut.stop for cut in cuts)
    assert cuts[0].scanned
    assert not any(cut.scanned for cut in cuts if norms[cut.start] == 0)
    assert not any(one.scanned and next_.scanned for one, next_ in pairwise(cuts))
    assert len(cuts) <= 20


def test_equal_norms_are_one_band_after_the_head():
    head, rest = cut_bands(np.ones(20_000), 0)
    assert (head.scanned, rest.scanned) == (True, False)
    assert head.stop == 20_000 // 25


def test_small_bands_behind_the_head_belong_to_it():
    norms = np.sort(np.random.default_rng(0).lognormal(0, 1.5, 20_000))[::-1].copy()
    alone, joined = cut_bands(norms, 0), cut_bands(norms, 1200)
    assert joined[0].stop > alone[0].stop
    assert joined[0].stop in [cut.stop for cut in alone]
