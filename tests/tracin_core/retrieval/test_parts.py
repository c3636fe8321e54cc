"""An index in parts against exact search over all vectors together, and against damage."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.tracin_core.retrieval.test_exact_search import SIDES, heavy_tailed
from tracin_core.errors import RetrievalError
from tracin_core.retrieval import add_part, build_index_in_parts, open_index, open_index_in_parts
from tracin_core.retrieval.exact import CosineSearch, ExactSearch
from tracin_core.retrieval.parts import build as building
from tracin_core.retrieval.parts.opened import OpenedParts

MEASURES = {"influence": ExactSearch, "cosine": CosineSearch}


@st.composite
def problems(draw):
    """Small whole numbers, with many ties, duplicates and zero vectors, and a few odd sizes."""
    dimensions = draw(st.integers(1, 5))
    numbers = st.integers(-3, 3).map(float)
    scales = st.sampled_from([1e-12, 1.0, 1.0, 1e9])
    parts = [
        draw(hnp.arrays(np.float32, (draw(st.integers(1, 12)), dimensions), elements=numbers))
        * np.float32(draw(scales))
        for _ in range(draw(st.integers(1, 4)))
    ]
    queries = draw(hnp.arrays(np.float64, (draw(st.integers(1, 4)), dimensions), elements=numbers))
    return parts, queries * draw(scales), draw(st.integers(1, 30)), draw(st.sampled_from(SIDES))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


@given(problem=problems())
@settings(max_examples=50, deadline=None)
def test_the_answer_is_that_of_exact_search_over_all_parts_together(place, problem):
    parts, queries, k, side = problem
    index = build_index_in_parts(parts, place / "index", "exact")
    for measure, exact_search in MEASURES.items():
        expected = exact_search(np.concatenate(parts)).search(queries, k, side)
        found = index.search(queries, k, side, measure=measure)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)
        one = index.search(queries[0], k, side, measure=measure)
        np.testing.assert_array_equal(one.indices, expected.indices[0])


ROWS, NUMBERS = 1500, 16


@pytest.fixture(scope="module")
def by_annoy(tmp_path_factory):
    """Return the vectors of three parts of different sizes of norms, and an index of Annoy's."""
    root = tmp_path_factory.mktemp("annoy")
    parts = [heavy_tailed(ROWS, NUMBERS, seed=seed) * 10.0**-seed for seed in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        # So small parts would be scanned as a whole.
        patch.setattr("tracin_core.retrieval.annoy_io._SCANNED_NUMBERS", 1)
        index = build_index_in_parts(parts, root / "index", "annoy", with_vectors=True)
    assert list(root.rglob("*.ann"))
    return parts, index


@pytest.fixture
def folder(by_annoy, tmp_path):
    """Return a copy of the index to be damaged."""
    return shutil.copytree(by_annoy[1].parts.source.folder, tmp_path / "index")


def test_the_recall_is_measured_over_all_parts_and_kept(by_annoy):
    parts, index = by_annoy
    opened = open_index_in_parts(index.parts.source.folder)
    assert opened.record == index.record
    assert opened.kind == "annoy"
    assert opened.recall >= 0.95
    assert "3 of 3 parts by Annoy" in opened.note
    queries = heavy_tailed(40, NUMBERS, seed=7)
    truth = ExactSearch(np.concatenate(parts)).search(queries, 10)
    np.testing.assert_array_equal(opened.exact.search(queries, 10).indices, truth.indices)
    found = opened.search(queries, 10)
    assert (found.scores >= truth.scores[:, -1:]).mean() >= 0.95
    one_by_one = [opened.search(query, 10).indices for query in queries[:5]]
    np.testing.assert_array_equal(np.stack(one_by_one), found.indices[:5])


def test_parts_that_cannot_win_are_not_opened(by_annoy):
    parts, index = by_annoy
    opened = open_index_in_parts(index.parts.source.folder)
    assert opened.parts.open_bytes == 0
    longest = parts[0][np.linalg.norm(parts[0], axis=1).argmax()]
    opened.search(longest, 1)
    assert list(opened.parts.checked) == [0]
    opened.search(longest, 1, measure="cosine")
    assert sorted(opened.parts.checked) == [0, 1, 2]


def test_no_more_parts_stay_open_than_fit_the_limit(by_annoy):
    _, index = by_annoy
    source = index.parts.source.folder
    whole = open_index_in_parts(source)
    queries = heavy_tailed(3, NUMBERS, seed=8)
    expected = whole.search(queries, 10, measure="cosine")
    one = whole.parts.open_bytes // 3
    for limit, kept in ((1, 1), (one * 5 // 2, 2), (one * 4, 3)):
        opened = open_index_in_parts(source, memory_limit=limit)
        for _ in range(2):
            found = opened.search(queries, 10, measure="cosine")
            np.testing.assert_array_equal(found.indices, expected.indices)
        assert round(opened.parts.open_bytes / one) == kept


def test_a_part_that_is_opened_again_is_read_through_if_a_file_has_changed(folder, monkeypatch):
    opened = open_index_in_parts(folder, memory_limit=1)
    query = np.ones(NUMBERS)
    opened.search(query, measure="cosine")
    checks = []
    check = "tracin_core.retrieval.parts.opened.check_index"
    monkeypatch.setattr(check, lambda *_: checks.append(1))
    opened.search(query, measure="cosine")
    assert not checks
    (folder / "part-00001" / "norms.npy").touch()
    opened.search(query, measure="cosine")
    assert checks == [1]


def test_a_damaged_part_is_named_and_refused(folder):
    path = next((folder / "part-00001").rglob("*.ann"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    opened = open_index_in_parts(folder)
    with pytest.raises(RetrievalError, match=r"part-00001 is not used: .*\.ann changed"):
        opened.search(np.ones(NUMBERS), measure="cosine")


def test_a_missing_part_is_named_and_refused(folder):
    shutil.rmtree(folder / "part-00002")
    with pytest.raises(RetrievalError, match=r"part-00002 .* is missing"):
        open_index_in_parts(folder)


def test_a_part_of_other_vectors_is_named_and_refused(folder):
    shutil.rmtree(folder / "part-00002")
    shutil.copytree(folder / "part-00001", folder / "part-00002")
    with pytest.raises(RetrievalError, match=r"part-00002 .* is another one"):
        open_index_in_parts(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"dimensions": 0}, "no whole numbers"),
        ({"recalls": {}}, "recalls are missing"),
        ({"kind": "other"}, "kind 'other'"),
        ({"timings": 3}, "timings or note"),
        ({"parts": []}, "no whole numbers"),
        ({"parts": [{"folder": "../part-00000"}]}, "TypeError"),
    ],
)
def test_a_record_that_cannot_be_is_refused(folder, change, message):
    path = folder / "parts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RetrievalError, match=message):
        open_index_in_parts(folder)


def test_a_record_names_nothing_outside_its_folder(folder):
    path = folder / "parts.json"
    path.write_text(path.read_text().replace('"part-00001"', '"../part-00001"'))
    with pytest.raises(RetrievalError, match="cannot be one"):
        open_index_in_parts(folder)


def test_a_part_is_added_behind_the_others(tmp_path):
    parts = [heavy_tailed(20, 4, seed=seed) for seed in range(3)]
    first = build_index_in_parts(parts[:2], tmp_path / "index", with_vectors=True)
    grown = add_part(first, parts[2])
    queries = heavy_tailed(5, 4, seed=9)
    expected = ExactSearch(np.concatenate(parts)).search(queries, 7)
    for index in (grown, open_index_in_parts(tmp_path / "index")):
        np.testing.assert_array_equal(index.search(queries, 7).indices, expected.indices)
    # Who reads it meanwhile goes on with what there was; who would add to that is told.
    assert first.search(queries, 7).indices.max() < 40
    with pytest.raises(RetrievalError, match="changed after it was opened"):
        add_part(first, parts[2])


def test_a_part_whose_building_was_killed_is_no_part(tmp_path, monkeypatch):
    parts = [heavy_tailed(20, 4, seed=seed) for seed in range(3)]
    index = build_index_in_parts(parts[:2], tmp_path / "index", with_vectors=True)

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "_measure", kill)
    with pytest.raises(KeyboardInterrupt):
        add_part(index, parts[2])
    assert (tmp_path / "index" / "part-00002").is_dir()
    assert open_index_in_parts(tmp_path / "index").record == index.record
    monkeypatch.undo()
    assert len(add_part(index, parts[0]).record.parts) == 3


def test_parts_that_find_too_little_together_are_searched_exactly(by_annoy, monkeypatch, tmp_path):
    monkeypatch.setattr(building, "LOWEST_RECALL", 1.1)
    index = build_index_in_parts(by_annoy[0][:1], tmp_path / "index", "annoy")
    assert index.kind == "exact"
    assert index.recall == 1
    assert "of each are needed" in index.note


def test_vectors_may_lie_elsewhere(tmp_path):
    parts = [heavy_tailed(20, 4, seed=seed) for seed in range(2)]
    built = build_index_in_parts(parts, tmp_path / "index")
    index = open_index_in_parts(tmp_path / "index", parts)
    np.testing.assert_array_equal(index.search(parts[0]).indices, built.search(parts[0]).indices)
    with pytest.raises(RetrievalError, match="vectors of 1 parts"):
        open_index_in_parts(tmp_path / "index", parts[:1])
    with pytest.raises(RetrievalError, match="without its vectors"):
        open_index_in_parts(tmp_path / "index").search(parts[0])
    with pytest.raises(RetrievalError, match="stale"):
        open_index_in_parts(tmp_path / "index", parts[::-1]).search(parts[0])


def test_wrong_use_is_told_with_the_way_out(tmp_path):
    part = heavy_tailed(20, 4)
    with pytest.raises(RetrievalError, match="no parts"):
        build_index_in_parts([], tmp_path / "index")
    with pytest.raises(RetrievalError, match="Part 1 has vectors of 3 numbers; expected 4"):
        build_index_in_parts([part, part[:, :3]], tmp_path / "index")
    assert not list(tmp_path.iterdir())
    index = build_index_in_parts([part], tmp_path / "index", with_vectors=True)
    with pytest.raises(RetrievalError, match="open_index_in_parts"):
        open_index(tmp_path / "index")
    with pytest.raises(RetrievalError, match="memory_limit 0"):
        open_index_in_parts(tmp_path / "index", memory_limit=0)
    with pytest.raises(RetrievalError, match="measure 'angle'"):
        index.search(part, measure="angle")


def test_a_device_finds_the_same(tmp_path):
    parts = [heavy_tailed(300, 8, seed=seed) for seed in range(2)]
    index = build_index_in_parts(parts, tmp_path / "index")
    queries = heavy_tailed(5, 8, seed=9)
    for measure in MEASURES:
        expected = index.search(queries, 7, "opponents", measure=measure)
        # torch's own name for the processor with a number, which is no device that we choose by.
        found = index.search(queries, 7, "opponents", measure=measure, device="cpu:0")
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_thousands_of_queries_visit_each_part_once(tmp_path, monkeypatch):
    parts = [heavy_tailed(30, 4, seed=seed) for seed in range(3)]
    index = build_index_in_parts(parts, tmp_path / "index")
    visits = []
    opening = OpenedParts.open
    monkeypatch.setattr(
        OpenedParts, "open", lambda self, number: visits.append(number) or opening(self, number)
    )
    queries = heavy_tailed(3000, 4, seed=9)
    found = index.search(queries, 3)
    assert sorted(visits) == [0, 1, 2]
    expected = ExactSearch(np.concatenate(parts)).search(queries, 3)
    np.testing.assert_array_equal(found.indices, expected.indices)
