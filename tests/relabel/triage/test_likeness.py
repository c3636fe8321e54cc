"""Groups of what is the same, nearly so, or of one kind, against the slow and obvious way."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from relabel.runs.folder import digest_content, stack_digests
from relabel.triage import likeness
from relabel.triage.likeness import count_clusters, find_alike, find_same, number_groups

COSINE = 0.9


def groups_one_by_one(rows: np.ndarray, same: np.ndarray, is_near) -> list[list[int]]:
    """Each content that is in no group takes those after it that are near and in none either."""
    free = [n for n in range(len(rows)) if not same[n] or n == int(np.argmax(same == same[n]))]
    found = []
    while free:
        leader, *others = free
        near = [one for one in others if is_near(rows[leader], rows[one])]
        if near:
            numbers = {same[n] for n in [leader, *near] if same[n]}
            found.append(
                sorted({leader, *near, *(n for n in range(len(rows)) if same[n] in numbers)})
            )
        free = [one for one in others if one not in near]
    return found


def as_lists(numbers: np.ndarray) -> list[list[int]]:
    return [
        np.flatnonzero(numbers == n).tolist() for n in range(1, int(numbers.max(initial=0)) + 1)
    ]


def near_by_cosine(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(one @ other >= COSINE)


def make_unit_rows(seed: int, count: int, width: int) -> np.ndarray:
    """Rows about a few directions, some of them hardly apart, and a few copies."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, width))
    spread = rng.choice([0.0, 0.03, 0.2, 1.0], size=(count, 1))
    rows = centres[rng.integers(0, 6, count)] + spread * rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(labels=st.lists(st.integers(0, 4), max_size=20))
def test_equal_contents_are_a_group_and_single_ones_are_in_none(labels):
    texts = [f"text {label}" for label in labels]
    numbers = find_same(stack_digests(map(digest_content, texts)))
    found = {tuple(one) for one in as_lists(numbers)}
    wanted = {
        tuple(n for n, other in enumerate(texts) if other == text)
        for text in set(texts)
        if texts.count(text) > 1
    }
    assert found == wanted
    sizes = [len(one) for one in as_lists(numbers)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("width", [8, 300])
@pytest.mark.parametrize("seed", range(4))
def test_near_rows_are_those_within_the_threshold_of_a_first_one(seed, width, monkeypatch):
    monkeypatch.setattr(likeness, "BLOCK", 16)  # so that pairs lie across blocks
    rows = make_unit_rows(seed, 90, width)
    _, places, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    same = number_groups(np.where(counts[places.ravel()] > 1, places.ravel() + 1, 0))
    found = find_alike(rows, same, np.zeros(len(rows), dtype=bool), least_cosine=COSINE)
    wanted = groups_one_by_one(rows.astype(np.float64), same, near_by_cosine)
    assert sorted(as_lists(found.near)) == sorted(wanted)
    assert not found.notes


def test_numbers_are_near_by_their_distance_wherever_they_lie():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 4)).astype(np.float32)
    rows[40:] = rows[:20] + 0.003
    rows[0] = rows[40] = 0.0  # whose direction says nothing
    rows[40] += 0.003
    none = np.zeros(60, dtype=np.int32)
    found = find_alike(rows, none, np.zeros(60, dtype=bool), least_cosine=None, most_distance=0.02)
    assert sorted(as_lists(found.near)) == [[n, n + 40] for n in range(20)]


def test_texts_by_their_words_and_those_without_a_known_word_are_in_no_group():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        f"the {word} sat on a mat number {n}" for n in range(10, 22) for word in ("cat", "dog")
    ]
    texts += ["the cat sat on a mat number 10 !", "", ""]
    rows = scipy.sparse.csr_matrix(TfidfVectorizer(dtype=np.float32).fit_transform(texts))
    blank = np.diff(rows.indptr) == 0
    found = find_alike(rows, np.zeros(len(texts), dtype=np.int32), blank, least_cosine=0.99)
    assert as_lists(found.near) == [[0, 24]]
    assert found.clusters[blank].tolist() == [0, 0]
    assert (found.clusters[~blank] > 0).all()


def test_clusters_gather_what_lies_together_and_come_out_the_same_again():
    rows = make_unit_rows(3, 200, 16)
    none = np.zeros(200, dtype=np.int32)
    found, again = (
        find_alike(rows, none, none.astype(bool), least_cosine=0.999).clusters for _ in range(2)
    )
    np.testing.assert_array_equal(found, again)
    assert 2 <= found.max() <= count_clusters(200) == 10
    closeness = rows @ rows.T
    inside = found[:, None] == found[None]
    assert closeness[inside].mean() > closeness[~inside].mean() + 0.3


def test_few_examples_are_in_no_cluster():
    assert count_clusters(19) == 0
    assert count_clusters(60_000) == 173
    assert count_clusters(10**6) == 200


def test_of_a_crowd_the_nearest_count_and_it_is_said(monkeypatch):
    monkeypatch.setattr(likeness, "MOST_NEIGHBOURS", 3)
    rng = np.random.default_rng(0)
    rows = (np.ones(6) + 0.01 * rng.normal(size=(30, 6))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    none = np.zeros(30, dtype=np.int32)
    found = find_alike(rows, none, none.astype(bool), least_cosine=COSINE)
    first = np.argsort(-(rows[1:] @ rows[0]))[:3] + 1
    assert set(np.flatnonzero(found.near == found.near[0])) == {0, *first.tolist()}
    assert "the 3 nearest alone were compared" in found.notes[0]


def test_beyond_a_limit_those_of_one_cluster_are_compared_which_is_said(monkeypatch):
    monkeypatch.setattr(likeness, "MOST_COMPARED", 50)
    rows = make_unit_rows(1, 80, 16)
    rows[79] = rows[0] + 1e-4
    none = np.zeros(80, dtype=np.int32)
    found = find_alike(rows, none, none.astype(bool), least_cosine=0.999)
    assert found.near[79] == found.near[0] > 0
    assert "those of one cluster alone" in found.notes[0]
