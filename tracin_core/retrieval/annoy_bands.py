"""Approximate search by dot product: one angular Annoy index for each band of norms.

Annoy's own ``dot`` metric fails on gradient vectors, whose norms are heavy-tailed. Within a band
of similar norms the order by dot product is nearly the order by angle, which Annoy is good at. A
query walks the bands from the largest norms down, scores each band's candidates exactly, and stops
when ``largest norm of the band * |query|`` cannot beat its k-th score. ``cut_bands`` chooses the
bands; those of few vectors are scanned exactly, from the longest vector down, as far as one can
still win.

A person waits for a query, and what came before has left the processor's caches cold: each of the
steps that hundreds of queries share costs a single one microseconds, together more than the
vectors it looks at. So a single query goes by as few steps as will do.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.retrieval.exact import (
    Direction,
    Directions,
    Matrix,
    Numbers,
    Positions,
    SearchResult,
    Side,
    TopK,
    as_queries,
    compute_scores,
    find_kth_largest,
    find_largest,
    multiply,
    prune_candidates,
    rounding_error,
    scale_query,
    search_in_batches,
    validate_k_and_side,
)

# Candidates are asked for in proportion to k, from this k on.
CALIBRATED_K = 10


class AnnoyLike(Protocol):
    """What is used of ``annoy.AnnoyIndex``."""

    def set_seed(self, seed: int, /) -> None: ...  # noqa: D102
    def add_item(self, position: int, vector: list[float], /) -> None: ...  # noqa: D102
    def build(self, trees: int, n_jobs: int = -1) -> bool: ...  # noqa: D102
    def save(self, path: str, /) -> bool: ...  # noqa: D102
    def load(self, path: str, /) -> bool: ...  # noqa: D102
    def get_nns_by_vector(  # noqa: D102
        self, vector: list[float], n: int, search_k: int = -1
    ) -> list[int]: ...


@dataclass(frozen=True)
class Effort:
    """How hard each band is searched: candidates taken, and tree nodes looked at for them."""

    candidates: int
    search_k: int

    def scale_to(self, k: int) -> Effort:
        """Return the effort for k neighbours."""
        share = max(1.0, k / CALIBRATED_K)
        return Effort(int(self.candidates * share), int(self.search_k * share))


@dataclass(frozen=True)
class Band:
    """Train vectors of similar norms.

    Attributes:
        largest_norm: No vector of this or a later band is longer.
        positions: Their train positions, shape ``(n,)``.
        scan: What is looked at where the band is scanned exactly, else None.
        annoy: Their index where it is not; None for zero vectors too.
    """

    largest_norm: float
    positions: Positions
    scan: Scan | None = None
    annoy: AnnoyLike | None = None


_FAULT_SEARCH_K = 10_000


class AnnoyBands:
    """Approximate proponents and opponents; scores are exact dot products all the same.

    Attributes:
        effort: May be changed between searches.
    """

    def __init__(self, vectors: Matrix, bands: list[Band], effort: Effort) -> None:
        self.vectors = vectors
        self.bands = bands
        self.effort = effort
        self._threads = os.cpu_count() or 1

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> SearchResult:
        """Find k of the best train vectors for each query, as ``ExactSearch.search`` does.

        A place for which no candidate was found has position ``-1``.
        """
        matrix = as_queries(queries, self.vectors.shape[1])
        if len(matrix) != 1:
            return search_in_batches(self, matrix, k, side, shape=self.vectors.shape)
        found = self._search_one(matrix[0], k, side)
        return (
            found
            if np.ndim(queries) == 1
            else SearchResult(found.indices[None], found.scores[None])
        )

    def _search_one(self, query: Numbers, k: int, side: Side) -> SearchResult:
        k, sign = validate_k_and_side(k, side, len(self.vectors))
        largest = float(find_largest(query[None])[0])
        if largest == 0:  # a tie, which the lowest positions win
            return SearchResult(np.arange(k), np.zeros(k))
        direction, exponent = scale_query(sign * query, largest)
        effort = self.effort.scale_to(k)
        positions, scores = walk_bands(self.vectors, self.bands, effort, direction, k)
        padding = (0, k - len(positions))
        if padding[1]:
            positions = np.pad(positions, padding, constant_values=-1)
            scores = np.pad(scores, padding, constant_values=-np.inf)
        return SearchResult(positions, sign * np.ldexp(scores, exponent) + 0.0)

    def offer_best(self, directions: Directions, best: TopK, first: int = 0) -> None:
        """Walk the bands with some hundreds of queries, as ``BatchSearch``; each stops for itself.

        A single query goes by fewer steps.
        """
        if len(directions.wide) == 1:
            wide, narrow, lengths = directions
            direction = Direction(wide[0], narrow[0], float(lengths[0]))
            effort, floor = self.effort.scale_to(best.k), float(best.floors[0])
            positions, scores = walk_bands(
                self.vectors, self.bands, effort, direction, best.k, floor=floor
            )
            best.offer(np.zeros_like(positions), positions + first, scores)
            return
        reaches = directions.lengths * BOUND_SLACK
        for band in self.bands:
            # Who has stopped stays so: norms fall and floors rise.
            active = (band.largest_norm * reaches >= best.floors).nonzero()[0]
            if not len(active):
                break
            self._offer_band(band, directions, active, best, first)

    def find_fault(self) -> str:
        """Search every Annoy index once for ten neighbours; return what is wrong, or nothing.

        Compiled for some newer Pythons, Annoy returns one neighbour whatever is asked for
        (spotify/annoy issue 682). Where the bands that are scanned hold nearly all neighbours,
        the recall alone would not tell.
        """
        for band in self.bands:
            if band.annoy is not None:
                query = (self.vectors[band.positions[0]] / band.largest_norm).tolist()
                asked = min(CALIBRATED_K, len(band.positions))
                returned = len(band.annoy.get_nns_by_vector(query, asked, _FAULT_SEARCH_K))
                if returned < asked:
                    return f"Annoy returned {returned} of {asked} neighbours; it may be miscompiled"
        return ""

    def _offer_band(
        self, band: Band, directions: Directions, active: Positions, best: TopK, first: int
    ) -> None:
        """Score what in the band may be among the best of the active queries."""
        asking = directions
        if len(active) < len(directions.wide):
            asking = Directions(
                directions.wide[active], directions.narrow[active], directions.lengths[active]
            )
        if band.scan is not None:
            rows, items = band.scan.find_candidates(asking, best.floors[active], best.k)
            # Scored where they were just read.
            scores = compute_scores(band.scan.rows, items, asking.wide, rows)
            best.offer(active[rows], band.positions[items] + first, scores)
            return
        if band.annoy is None:  # zero vectors: all tie, so the lowest positions will do
            count = min(best.k, len(band.positions))
            rows = np.repeat(np.arange(len(active)), count)
            items = np.tile(np.arange(count), len(active))
        else:
            rows, items = self._ask_annoy(band.annoy, asking.narrow, best.k)
        positions = band.positions[items]
        scores = compute_scores(self.vectors, positions, asking.wide, rows)
        best.offer(active[rows], positions + first, scores)

    def _ask_annoy(self, annoy: AnnoyLike, queries: Matrix, k: int) -> tuple[Positions, Positions]:
        """Return queries and items of the band that Annoy takes for near, shapes ``(n,)``."""
        effort = self.effort.scale_to(k)
        count, search_k = effort.candidates, effort.search_k

        def ask(part: Matrix) -> list[list[int]]:
            return [annoy.get_nns_by_vector(query, count, search_k) for query in part.tolist()]

        if len(queries) == 1:
            found = ask(queries)
        else:
            # Annoy lets go of the interpreter while it searches.
            with ThreadPoolExecutor(self._threads) as pool:
                parts = pool.map(ask, np.array_split(queries, min(len(queries), self._threads)))
                found = [items for part in parts for items in part]
        rows = np.repeat(np.arange(len(queries)), [len(items) for items in found])
        return rows, np.concatenate([np.asarray(items, dtype=np.int64) for items in found])


def walk_bands(
    vectors: Matrix,
    bands: Sequence[Band],
    effort: Effort,
    direction: Direction,
    k: int,
    *,
    floor: float = -math.inf,
) -> tuple[Positions, Numbers]:
    """Find the k largest dot products of one query.

    Args:
        vectors: Train vectors, shape ``(N, D)``.
        bands: Largest norms first.
        effort: For k neighbours.
        direction: The query.
        k: Number of neighbours.
        floor: What falls below it may be left out.

    Returns:
        Train positions and scores, best first, shapes ``(n,)``; n is k, or the number of
        candidates that were found.
    """
    positions, scores = np.empty(0, dtype=np.int64), np.empty(0)
    for band in bands:
        if band.largest_norm * direction.length * BOUND_SLACK < floor:
            break
        candidates, products = _score_band(vectors, band, effort, direction, floor, k)
        if len(positions):
            candidates = np.concatenate([positions, candidates])
            products = np.concatenate([scores, products])
        order = np.lexsort((candidates, -products))[:k]
        positions, scores = candidates[order], products[order]
        if len(scores) == k:
            floor = max(floor, float(scores[-1]))
    return positions, scores


def _score_band(
    vectors: Matrix, band: Band, effort: Effort, direction: Direction, floor: float, k: int
) -> tuple[Positions, Numbers]:
    """Return positions and exact scores of what in the band may be among the best."""
    rows = vectors
    if band.scan is not None:
        items = chosen = band.scan.find_for_one(direction, floor, k)
        rows = band.scan.rows  # they were just read
        positions = band.positions[items]
    elif band.annoy is not None:
        query = direction.narrow.tolist()
        items = np.array(
            band.annoy.get_nns_by_vector(query, effort.candidates, effort.search_k),
            dtype=np.int64,
        )
        positions = chosen = band.positions[items]
    else:  # zero vectors: all tie, so the lowest positions will do
        positions = chosen = band.positions[:k]
    which = np.zeros(len(chosen), dtype=np.int64)
    return positions, compute_scores(rows, chosen, direction.wide[None], which)


# So many of the longest come first: their k-th score tells how far into the rest to look.
_FIRST_ROWS = 512
# Larger than any rounding of a bound, so that a tie is looked at rather than missed.
BOUND_SLACK = 1 + 1e-6


@dataclass(frozen=True)
class Scan:
    """Vectors that are scanned exactly, largest norm first.

    Attributes:
        rows: Shape ``(n, D)``, side by side in memory.
        norms: Shape ``(n,)``.
    """

    rows: Matrix
    norms: Numbers

    def find_candidates(
        self, directions: Directions, floors: Numbers, k: int
    ) -> tuple[Positions, Positions]:
        """Find the rows that can be among the k best of each query.

        Args:
            directions: M queries.
            floors: Exact k-th score so far, shape ``(M,)``; minus infinity where there is none.
            k: Number of neighbours.

        Returns:
            Queries and rows, each of shape ``(n,)``; every true one of the k best is among them.
        """
        width = _count_first(k) if floors.min() == -np.inf else 0
        first = multiply(directions.narrow, self.rows[:width])
        width = first.shape[1]
        if width >= k:
            surely = find_kth_largest(first - self._margins[:width], k)
            floors = np.maximum(floors, surely)
        reached = self._count_down_to((floors / directions.lengths).min() / BOUND_SLACK)
        block = first
        if reached > width:
            rest = multiply(directions.narrow, self.rows[width:reached])
            block = np.concatenate([first, rest], axis=1)
        margins = self._margins[: block.shape[1]]
        cells = (block + margins >= floors.astype(np.float32)[:, None]).ravel().nonzero()[0]
        # Far faster than to ask for the nonzero cells of a matrix.
        queries, rows = np.divmod(cells, block.shape[1])
        return prune_candidates(block, queries, rows, k, margins)

    def find_for_one(self, direction: Direction, floor: float, k: int) -> Positions:
        """Find the rows that can be among the k best of a single query, in fewer steps.

        Args:
            direction: The query.
            floor: Exact k-th score so far; minus infinity where there is none.
            k: Number of neighbours.

        Returns:
            Shape ``(n,)``; every true one of the k best is among them.
        """
        scores = np.empty(len(self.rows), dtype=np.float32)
        width = _count_first(k) if floor == -np.inf else 0
        first = np.vecdot(self.rows[:width], direction.narrow, out=scores[:width])
        if len(first) >= k:
            surely = first - self._margins[: len(first)]
            surely.partition(len(first) - k)
            floor = max(floor, float(surely[-k]))
        reached = self._count_down_to(floor / direction.length / BOUND_SLACK)
        np.vecdot(self.rows[width:reached], direction.narrow, out=scores[width:reached])
        scores = scores[: max(width, reached)]
        margins = self._margins[: len(scores)]
        items: Positions = (scores + margins >= floor).nonzero()[0]
        which = np.zeros_like(items)
        return prune_candidates(scores[None], which, items, k, margins)[1]

    def _count_down_to(self, norm: float) -> int:
        """Return how many rows have at least this norm: no other can win."""
        return int(self._negated_norms.searchsorted(-norm, side="right"))

    @cached_property
    def _negated_norms(self) -> Numbers:
        return -self.norms

    @cached_property
    def _margins(self) -> Matrix:
        """Largest error of each row's float32 scores, shape ``(n,)``.

        Row by row, so that one vector of an absurd norm does not make all others candidates.
        """
        dimensions = self.rows.shape[1]
        underflow = dimensions * float(np.finfo(np.float32).smallest_subnormal)
        margins: Matrix = (rounding_error(dimensions) * self.norms + underflow).astype(np.float32)
        return margins


def _count_first(k: int) -> int:
    return max(_FIRST_ROWS, 2 * k)


# The 4% with the largest norms hold nearly every neighbour when norms are heavy-tailed; to look
# at all of them costs 1/25 of an exact search.
_HEAD_SHARE = 25
_FEWEST_ROWS = 512
_TAIL_BANDS = 12
# Narrower bands would cost queries and prune nothing.
_SMALLEST_RATIO = 1.1
# The smallest norms can be absurdly small (fitted examples); geometric bands over all of them
# would leave the rest in one.
_FLOOR_QUANTILE = 0.01


class Cut(NamedTuple):
    """One band, as a range of the sorted vectors; ``scanned`` if it is looked at exactly."""

    start: int
    stop: int
    scanned: bool


def cut_bands(norms: Numbers, scanned_rows: int) -> list[Cut]:
    """Cut norms sorted from large to small into bands.

    The head is scanned exactly. What follows is cut where the norm has fallen by a constant
    ratio, and bands of few rows are scanned too; scanned neighbours are one band, because a scan
    stops by itself where the norms are too small. Zero vectors are a band of their own.

    Args:
        norms: Descending, shape ``(N,)``.
        scanned_rows: Up to so many rows a band is scanned.

    Returns:
        The bands in order and without gaps.
    """
    total, positive = len(norms), int(np.count_nonzero(norms))
    head = min(positive, max(_FEWEST_ROWS, total // _HEAD_SHARE))
    edges = {0, head, positive, total}
    if positive > head:
        edges.update(_cut_tail(norms[:positive], head))
    cuts: list[Cut] = []
    for start, stop in pairwise(sorted(edges)):
        scanned = start < positive and (stop <= head or stop - start <= scanned_rows)
        first = cuts.pop().start if scanned and cuts and cuts[-1].scanned else start
        cuts.append(Cut(first, stop, scanned))
    return cuts


def _cut_tail(norms: Numbers, head: int) -> list[int]:
    """Return the geometric cuts between the head and the end of the positive norms."""
    largest = norms[head]
    smallest = max(norms[-1 - int(_FLOOR_QUANTILE * len(norms))], np.finfo(np.float32).tiny)
    ratio = max((largest / smallest) ** (1 / _TAIL_BANDS), _SMALLEST_RATIO)
    edges = largest / ratio ** np.arange(1, _TAIL_BANDS)
    # Ascending search on the negated, hence ascending, norms.
    cuts = np.unique(np.searchsorted(-norms, -edges, side="right"))
    kept = [head]
    for cut in cuts.tolist():
        if cut - kept[-1] >= _FEWEST_ROWS and len(norms) - cut >= _FEWEST_ROWS:
            kept.append(cut)
    return kept[1:]
