"""Which examples are the same, nearly the same, or of one kind, by their contents alone.

Labels take no part in it, so that a group says something of the labels in it: the same text under
two labels is wrong at least once. Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse

from relabel.runs.folder import Digests

# Group numbers of the examples, from 1, the largest group first; 0 is none. Shape ``(N,)``.
Numbers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

SEED = 0
# Numbers to which rows are projected before all are compared with all. Cosines near 1 keep an
# error of about (1 - cosine^2) / sqrt(128): 0.03 at 0.8 (Johnson and Lindenstrauss). So candidates
# are taken from three times as far away, and each pair is measured by the rows themselves.
SKETCH = 128
MARGIN = 0.1
# Beyond so many different contents, those of one cluster alone are compared with each other.
MOST_COMPARED = 100_000
MOST_NEIGHBOURS = 32  # near contents that are looked at of each one
BLOCK = 1_024
PAIRS_AT_ONCE = 8_192
# Of a cluster about sqrt(2 N) examples: few enough to be looked at, and not too many clusters.
LEAST_EXAMPLES, MOST_CLUSTERS = 20, 200
# Examples that the clusters are fitted to; the others are put to the nearest centre.
MOST_FITTED = 50_000
TOPICS = 64  # numbers of a text by its words, for the clusters (latent semantic analysis)


class Rows(Protocol):
    """Examples as rows of numbers, read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return rows, and numbers of a row."""

    def __getitem__(self, rows: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Alike:
    """The groups of all examples, and what a person should know of them.

    Attributes:
        near: Nearly the same contents; clusters: of one kind.
        notes: What was left out, in sentences.
    """

    near: Numbers
    clusters: Numbers
    notes: tuple[str, ...] = ()


def find_same(digests: Digests) -> Numbers:
    """Return the groups of equal contents.

    Args:
        digests: Of each example's content, shape ``(N, 16)``.
    """
    contents = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}")[:, 0]
    _, places, counts = np.unique(contents, return_inverse=True, return_counts=True)
    return number_groups(np.where(counts[places] > 1, places + 1, 0))


def number_groups(groups: npt.NDArray[np.integer]) -> Numbers:
    """Return groups numbered from 1: the largest first, of equal ones the one that begins first.

    Args:
        groups: Any number for each group, 0 for none, shape ``(N,)``.
    """
    names, first, places, counts = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -counts))
    order = order[names[order] != 0]
    numbers = np.zeros(len(names), dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    found: Numbers = numbers[places]
    return found


def find_alike(
    rows: Rows,
    same: Numbers,
    blank: npt.NDArray[np.bool_],
    *,
    least_cosine: float | None,
    most_distance: float = 0.0,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> Alike:
    """Return which examples are nearly the same, and clusters of such as are of one kind.

    Nearly the same are a first example and those within the threshold of it, so that a group
    cannot wander off from neighbour to neighbour.

    Args:
        rows: Of all examples, shape ``(N, D)``: of length one where cosines count.
        same: Groups of equal contents, of which one stands for all.
        blank: Of which examples nothing is known; they are in no group.
        least_cosine: From this cosine on two rows are nearly the same; None where their distance
            counts.
        most_distance: Up to this Euclidean distance.
        on_done: Told how many rows of all have been compared.
    """
    sketch = _sketch(rows, unit=least_cosine is not None)
    clusters = _find_clusters(rows, sketch, blank)
    _, first = np.unique(np.where(same > 0, -same, np.arange(len(same))), return_index=True)
    alone = np.sort(first)[~blank[np.sort(first)]]
    radius = most_distance**2
    wide = radius * 1.02 + 1e-6
    if least_cosine is not None:
        radius, wide = 2 - 2 * least_cosine, 2 - 2 * (least_cosine - MARGIN)
    notes, parts = [], [alone]
    if len(alone) > MOST_COMPARED:
        notes.append(
            f"Of the {len(alone):,} different contents, those of one cluster alone were compared."
        )
        parts = list(_cut_by_cluster(alone, clusters))
    found, crowded, done = [], 0, 0
    for part in parts:
        for pairs, cut in _list_near(sketch, part, wide):
            crowded += cut
            done += BLOCK
            found.append(pairs[_measure(rows, pairs) <= radius])
            on_done(min(done, len(alone)), len(alone))
    if crowded:
        notes.append(
            f"Of {crowded:,} examples with many that lie near, the {MOST_NEIGHBOURS} nearest alone "
            "were compared."
        )
    pairs = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
    return Alike(_lead(pairs, same), clusters, tuple(notes))


def count_clusters(num_examples: int) -> int:
    """Return into how many clusters examples are put; 0 where they are too few."""
    if num_examples < LEAST_EXAMPLES:
        return 0
    return min(MOST_CLUSTERS, max(2, round(math.sqrt(num_examples / 2))))


def _sketch(rows: Rows, *, unit: bool) -> Floats:
    """Return rows of at most 128 numbers with nearly the same distances, shape ``(N, S)``."""
    from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

    num_rows, width = rows.shape
    is_sparse = scipy.sparse.issparse(rows)
    if width <= SKETCH:
        whole = rows.toarray() if is_sparse else rows[np.arange(num_rows)]  # type: ignore[attr-defined]
        found = np.array(whole, dtype=np.float32)
    elif is_sparse:
        made = SparseRandomProjection(SKETCH, dense_output=True, random_state=SEED)
        found = made.fit_transform(rows).astype(np.float32)
    else:
        made = GaussianRandomProjection(SKETCH, random_state=SEED)
        made.fit(np.zeros((1, width), dtype=np.float32))
        found = np.empty((num_rows, SKETCH), dtype=np.float32)
        for start in range(0, num_rows, PAIRS_AT_ONCE):
            chosen = np.arange(start, min(start + PAIRS_AT_ONCE, num_rows))
            found[chosen] = made.transform(rows[chosen])
    if unit:
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return found


def _find_clusters(rows: Rows, sketch: Floats, blank: npt.NDArray[np.bool_]) -> Numbers:
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    known = np.flatnonzero(~blank)
    clusters = np.zeros(len(blank), dtype=np.int32)
    count = count_clusters(len(known))
    if not count:
        return clusters
    fitted = known[np.unique(np.linspace(0, len(known) - 1, MOST_FITTED, dtype=np.int64))]
    places = _find_topics(rows, fitted) if scipy.sparse.issparse(rows) else sketch
    model = MiniBatchKMeans(count, random_state=SEED, n_init=3, batch_size=4 * BLOCK)
    # One thread: small batches are quicker so, and the sums come out the same on every machine.
    with threadpool_limits(1):
        model.fit(places[fitted])
        clusters[known] = model.predict(places[known]) + 1
    return number_groups(clusters)


def _find_topics(rows: Any, fitted: npt.NDArray[np.int64]) -> Floats:
    """Return sparse rows of texts as numbers of topics, of length one, shape ``(N, T)``."""
    from sklearn.decomposition import TruncatedSVD

    most = min(TOPICS, rows.shape[1] - 1, len(fitted) - 1)
    if most < 2:
        dense: Floats = rows[:, : TOPICS + 1].toarray()
        return dense
    found = TruncatedSVD(most, n_iter=3, random_state=SEED).fit(rows[fitted]).transform(rows)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    topics: Floats = found.astype(np.float32)
    return topics


def _cut_by_cluster(
    alone: npt.NDArray[np.int64], clusters: Numbers
) -> Iterator[npt.NDArray[np.int64]]:
    for number in np.unique(clusters[alone]):
        members = alone[clusters[alone] == number]
        for start in range(0, len(members), MOST_COMPARED):
            yield members[start : start + MOST_COMPARED]


def _list_near(
    sketch: Floats, part: npt.NDArray[np.int64], wide: float
) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yield pairs of rows that may be near, ``(P, 2)``, and how many rows had too many of them."""
    rows = sketch[part]
    halves = np.einsum("nd,nd->n", rows, rows)[:, None] / 2
    ones = np.ones_like(halves)
    # x.y - |x|^2 / 2 - |y|^2 / 2 = -|x - y|^2 / 2, in one product.
    left = np.concatenate([rows, ones, -halves], axis=1)
    right = np.ascontiguousarray(np.concatenate([rows, -halves, ones], axis=1).T)
    for start in range(0, len(part), BLOCK):
        # Each pair once: a block with itself and with what comes after it.
        closeness = left[start : start + BLOCK] @ right[:, start:]
        one, other = np.nonzero(closeness >= -wide / 2)
        one, other = one[other > one], other[other > one]
        counts = np.bincount(one, minlength=1)
        crowded = np.flatnonzero(counts > MOST_NEIGHBOURS)
        if len(crowded):
            order = np.lexsort((-closeness[one, other], one))
            one, other = one[order], other[order]
            place = np.arange(len(one)) - (np.cumsum(counts) - counts)[one]
            one, other = one[place < MOST_NEIGHBOURS], other[place < MOST_NEIGHBOURS]
        yield np.stack([part[one + start], part[other + start]], axis=1), len(crowded)


def _measure(rows: Any, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the squared distances of pairs of rows, shape ``(P,)``."""
    found = np.empty(len(pairs), dtype=np.float64)
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        one, other = pairs[start : start + PAIRS_AT_ONCE].T
        if scipy.sparse.issparse(rows):
            difference = rows[one] - rows[other]
            squared = np.asarray(difference.multiply(difference).sum(axis=1))[:, 0]
        else:
            apart = rows[one].astype(np.float64) - rows[other]
            squared = np.einsum("pd,pd->p", apart, apart)
        found[start : start + len(one)] = squared
    return found


def _lead(pairs: npt.NDArray[np.int64], same: Numbers) -> Numbers:
    """Return groups of a first example and all that are near to it and in no group before."""
    groups = np.zeros(len(same), dtype=np.int64)
    if len(pairs):
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        leaders, starts = np.unique(pairs[order, 0], return_index=True)
        followers = np.split(pairs[order, 1], starts[1:])
        for leader, near in zip(leaders, followers, strict=True):
            free = near[groups[near] == 0]
            if groups[leader] == 0 and len(free):
                groups[leader] = groups[free] = leader + 1
    # Copies of one that stands for them belong where it belongs.
    for_all = np.zeros(int(same.max(initial=0)) + 1, dtype=np.int64)
    np.maximum.at(for_all, same, groups)
    return number_groups(np.where(same > 0, for_all[same], groups))
