from __future__ import annotations

import json

import numpy as np
import pytest

from tracin_core.errors import RetrievalError, StorageError
from tracin_core.retrieval import build_index, open_index
from tracin_core.retrieval.annoy_bands import AnnoyBands
from tracin_core.retrieval.annoy_io import make_annoy
from tracin_core.retrieval.calibration import draw_queries
from tracin_core.retrieval.exact import ExactSearch

annoy = pytest.importorskip("annoy", exc_type=ImportError)
SIDES = ["proponents", "opponents"]


class OneNeighbour:
    """An Annoy index with the fault it has on some newer Pythons: one neighbour only."""

    def __init__(self, dimensions):
        self._annoy = make_annoy(dimensions)

    def __getattr__(self, name):
        return getattr(self._annoy, name)

    def get_nns_by_vector(self, vector, n, search_k=-1):
        return self._annoy.get_nns_by_vector(vector, n, search_k)[:1]


def refuse_annoy(dimensions):
    raise RetrievalError("Annoy cannot be loaded; exact search works without it.")


def draw_vectors(count=3000, dimensions=24, seed=0, sigma=0.5):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((10, dimensions))
    directions = centres[generator.integers(0, 10, count)]
    directions = directions + generator.standard_normal((count, dimensions))
    return (directions * generator.lognormal(0, sigma, (count, 1))).astype(np.float32)


@pytest.fixture(autouse=True)
def annoy_for_small_bands(monkeypatch):
    monkeypatch.setattr("tracin_core.retrieval.annoy_io._SCANNED_NUMBERS", 0)


@pytest.fixture
def slow_exact(monkeypatch):
    """Make every set one for which exact search is too slow."""
    monkeypatch.setattr("tracin_core.retrieval.index.EXACT_SECONDS", -1.0)


def test_auto_is_exact_while_that_is_fast():
    index = build_index(draw_vectors())
    assert (index.kind, index.recall) == ("exact", 1.0)
    assert "within 50 ms" in index.note


def test_auto_without_annoy_is_exact_and_says_why(slow_exact):
    index = build_index(draw_vectors(), annoy_factory=refuse_annoy)
    assert index.kind == "exact"
    assert "Annoy cannot be loaded" in index.note


def test_auto_takes_annoy_only_where_it_is_faster(slow_exact, monkeypatch):
    monkeypatch.setattr("tracin_core.retrieval.index._WORTHWHILE", 1e9)
    index = build_index(draw_vectors())
    assert index.kind == "exact"
    assert "hardly faster" in index.note


def test_auto_takes_annoy_where_exact_search_is_slow(slow_exact, monkeypatch):
    monkeypatch.setattr("tracin_core.retrieval.index._WORTHWHILE", 1e-9)
    assert build_index(draw_vectors()).kind == "annoy"


def test_annoy_asked_for_but_missing_is_an_error():
    with pytest.raises(RetrievalError, match="Annoy cannot be loaded"):
        build_index(draw_vectors(), "annoy", annoy_factory=refuse_annoy)


def test_the_recall_of_annoy_is_measured_and_high():
    index = build_index(draw_vectors(), "annoy")
    assert index.kind == "annoy"
    assert set(index.record.recalls) == set(SIDES)
    assert 0.99 <= index.recall <= 1
    assert index.recall == min(index.record.recalls.values())


@pytest.mark.parametrize("saved", [False, True])
def test_an_annoy_that_returns_one_neighbour_only_is_found_out(tmp_path, saved):
    vectors, path = draw_vectors(), tmp_path / "index" if saved else None
    index = build_index(vectors, "annoy", path, annoy_factory=OneNeighbour)
    assert index.kind == "exact"
    assert "1 of 10 neighbours" in index.note
    query = draw_vectors(1, seed=1)[0]
    np.testing.assert_array_equal(
        index.search(query).indices, ExactSearch(vectors).search(query).indices
    )
    if path is not None:
        assert open_index(path, vectors).kind == "exact"
        assert not list(path.rglob("*.ann"))


def test_a_recall_that_is_too_low_is_measured_and_the_index_not_used(monkeypatch):
    # Without the check for the fault itself: what is measured must tell alone.
    monkeypatch.setattr(AnnoyBands, "find_fault", lambda self: "")
    index = build_index(draw_vectors(1500, sigma=0), "annoy", annoy_factory=OneNeighbour)
    assert index.kind == "exact"
    assert index.recall == 1.0
    assert "0.95 of each are needed" in index.note


@pytest.mark.parametrize("kind", ["exact", "annoy"])
def test_a_saved_index_opens_and_answers_as_before(tmp_path, kind):
    vectors, queries = draw_vectors(), draw_vectors(10, seed=1)
    built = build_index(vectors, kind, tmp_path / "index")
    opened = open_index(tmp_path / "index", vectors)
    assert opened.record == built.record
    assert opened.kind == kind
    for side in SIDES:
        before, after = built.search(queries, 10, side), opened.search(queries, 10, side)
        np.testing.assert_array_equal(before.indices, after.indices)
        np.testing.assert_array_equal(before.scores, after.scores)


def test_building_again_replaces_the_index_as_a_whole(tmp_path):
    vectors, path = draw_vectors(), tmp_path / "index"
    build_index(vectors, "annoy", path)
    build_index(vectors[:100], "exact", path)
    assert open_index(path, vectors[:100]).kind == "exact"
    assert sorted(file.name for file in path.iterdir()) == ["index.json", "norms.npy"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_build_that_fails_leaves_the_old_index_alone(tmp_path):
    vectors, path = draw_vectors(), tmp_path / "index"
    build_index(vectors, "exact", path)
    with pytest.raises(RetrievalError):
        build_index(vectors, "annoy", path, annoy_factory=refuse_annoy)
    assert open_index(path, vectors).kind == "exact"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["exact", "annoy"])
def test_an_index_of_vectors_that_changed_since_is_refused(tmp_path, kind):
    vectors = draw_vectors()
    build_index(vectors, kind, tmp_path / "index")
    vectors[2999, 23] += 1e-3
    with pytest.raises(RetrievalError, match=r"stale.*build the index again"):
        open_index(tmp_path / "index", vectors)
    with pytest.raises(RetrievalError, match="built over 3000 vectors"):
        open_index(tmp_path / "index", vectors[:2999])


@pytest.mark.parametrize("damage", ["{", "[]", "null", '{"schema_version": 1}', "\xff", ""])
def test_a_corrupt_record_is_refused_with_the_way_out(tmp_path, damage):
    build_index(draw_vectors(), "exact", tmp_path / "index")
    (tmp_path / "index" / "index.json").write_bytes(damage.encode("latin-1"))
    with pytest.raises(RetrievalError, match="Delete the folder and build the index again"):
        open_index(tmp_path / "index", draw_vectors())


def test_an_index_of_a_newer_program_is_refused_with_the_way_out(tmp_path):
    build_index(draw_vectors(), "exact", tmp_path / "index")
    path = tmp_path / "index" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(RetrievalError, match=r"schema version 99.*Update the program"):
        open_index(tmp_path / "index", draw_vectors())


@pytest.mark.parametrize("damage", ["cut off", "missing", "other"])
def test_damaged_norms_are_refused_with_the_way_out(tmp_path, damage):
    build_index(draw_vectors(), "exact", tmp_path / "index")
    path = tmp_path / "index" / "norms.npy"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(content[:200])
    if damage == "other":
        np.save(path, np.zeros(3))
    with pytest.raises(RetrievalError, match="Delete the folder and build the index again"):
        open_index(tmp_path / "index", draw_vectors())


def test_a_missing_index_is_said(tmp_path):
    with pytest.raises(RetrievalError, match="no sound index"):
        open_index(tmp_path / "gone", draw_vectors())


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((StorageError, OSError)):
        build_index(draw_vectors(), "exact", tmp_path / "file" / "index")


def test_an_unknown_kind_is_refused():
    with pytest.raises(RetrievalError, match="'faiss'"):
        build_index(draw_vectors(), "faiss")


def test_memory_mapped_vectors_are_indexed_where_they_lie(tmp_path):
    np.save(tmp_path / "vectors.npy", draw_vectors())
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = build_index(mapped, "annoy", tmp_path / "index")
    assert np.shares_memory(index.exact.vectors, mapped)
    assert index.search(mapped[5], 1).indices.shape == (1,)


def test_many_neighbours_are_searched_exactly():
    vectors = draw_vectors()
    index, query = build_index(vectors, "annoy"), draw_vectors(1, seed=1)[0]
    np.testing.assert_array_equal(
        index.search(query, 500).indices, ExactSearch(vectors).search(query, 500).indices
    )


@pytest.mark.parametrize("count", [1, 2, 600])
def test_the_smallest_sets_are_indexed_too(count):
    index = build_index(draw_vectors(count), "annoy")
    assert index.search(np.ones(24), 3).indices.shape == (min(count, 3),)


@pytest.mark.parametrize("saved", [False, True])
def test_a_set_of_zero_vectors_is_indexed(tmp_path, saved):
    index = build_index(np.zeros((700, 4)), "annoy", tmp_path / "index" if saved else None)
    assert index.recall == 1.0
    assert index.search(np.ones(4), 2).scores.tolist() == [0, 0]
    if saved:
        opened = open_index(tmp_path / "index", np.zeros((700, 4)))
        assert opened.search(np.ones(4), 2).indices.tolist() == [0, 1]


def test_the_sample_holds_train_vectors_perturbed_ones_and_unlike_ones():
    exact = ExactSearch(draw_vectors())
    queries = draw_queries(exact, seed=0, count=60)
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = (unit @ (exact.vectors / exact.norms[:, None]).T).max(axis=1)
    assert (cosines > 0.9999).sum() == 20
    assert (cosines[:20] > 0.5).all()
    assert cosines[20:40].mean() < cosines[:20].mean()
    np.testing.assert_array_equal(queries, draw_queries(exact, seed=0, count=60))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["exact", "annoy"])
def test_every_index_finds_the_true_neighbours_by_cosine(kind, side):
    vectors, queries = draw_vectors(4000, sigma=1.5), draw_vectors(20, seed=3)
    index = build_index(vectors, kind)
    assert index.kind == kind
    wide = vectors.astype(np.float64)
    cosines = queries.astype(np.float64) @ wide.T
    cosines /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(wide, axis=1)
    order = np.argsort(-cosines if side == "proponents" else cosines, axis=1)[:, :10]
    found = index.search(queries, 10, side, measure="cosine")
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(cosines, order, 1), rtol=1e-6)
    by_influence = index.search(queries, 10, side)
    assert (by_influence.indices != found.indices).any()


def test_an_unknown_measure_is_refused():
    with pytest.raises(RetrievalError, match="measure 'angle'; expected 'influence' or 'cosine'"):
        build_index(draw_vectors(20)).search(np.ones(24), measure="angle")


def test_thousands_of_queries_are_answered_by_annoy_as_one_by_one():
    vectors, queries = draw_vectors(4000, sigma=1.5), draw_vectors(2000, seed=3)
    index = build_index(vectors, "annoy")
    for side in SIDES:
        found = index.search(queries, 10, side)
        for row in (0, 999, 1999):
            np.testing.assert_array_equal(
                found.indices[row], index.search(queries[row], 10, side).indices
            )
