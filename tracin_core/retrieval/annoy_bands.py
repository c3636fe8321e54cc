"""Approximate search by dot product: one angular Annoy index for each band of norms.

Annoy's own ``dot`` metric fails on gradient vectors, whose norms are heavy-tailed. Within a
band of similar norms the order by dot product is nearly the order by angle, which Annoy is good
at. A query walks the bands from the largest norms down, scores each band's candidates exactly,
and stops when ``largest norm of the band * |query|`` cannot beat its k-th score.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.retrieval.best import Best, find_promising
from tracin_core.retrieval.exact import multiply, rounding_error
from tracin_core.retrieval.queries import Directions, Found, Side, search_in_parts
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions, compute_scores

# Candidates are asked for in proportion to k, from this k on.
_CALIBRATED_K = 10
_FAULT_SEARCH_K = 10_000
# Larger than any rounding of a bound, so that a tie is looked at rather than missed.
_BOUND_SLACK = 1 + 1e-6


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


@dataclass(frozen=True)
class Scan:
    """The vectors of a band that is scanned exactly, largest norm first.

    Attributes:
        rows: Shape ``(n, D)``.
        norms: Shape ``(n,)``.
    """

    rows: Matrix
    norms: Numbers

    def rows_down_to(self, norm: float) -> Matrix:
        """Return the rows of at least this norm: no other can win."""
        return self.rows[: int(np.searchsorted(-self.norms, -norm, side="right"))]


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

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> Found:
        """Find k of the best train vectors for each query, as ``ExactSearch.search`` does.

        A place for which no candidate was found has position ``-1``.
        """
        return search_in_parts(self, queries, k, side, shape=self.vectors.shape)

    def search_part(self, directions: Directions, k: int) -> Best:
        """Walk the bands with some hundreds of queries; each stops for itself."""
        best = Best(len(directions.wide), k)
        active = np.arange(len(directions.wide))
        with ThreadPoolExecutor(self._threads) as pool:
            for band in self.bands:
                bounds = band.largest_norm * directions.lengths[active] * _BOUND_SLACK
                active = active[bounds >= best.floors[active]]
                if not len(active):
                    break
                rows, items = self._find_candidates(band, directions, best, active, pool)
                if not len(rows):
                    continue
                positions = band.positions[items]
                scores = compute_scores(self.vectors, positions, directions.wide, rows)
                best.offer(rows, positions, scores)
        return best

    def find_fault(self) -> str:
        """Ask every Annoy index once for ten neighbours; return what is wrong, or nothing.

        Compiled for some newer Pythons, Annoy returns one neighbour whatever is asked for
        (spotify/annoy issue 682). Where the bands that are scanned hold nearly all neighbours,
        the recall alone would not tell.
        """
        for band in self.bands:
            if band.annoy is not None:
                query = (self.vectors[band.positions[0]] / band.largest_norm).tolist()
                asked = min(_CALIBRATED_K, len(band.positions))
                returned = len(band.annoy.get_nns_by_vector(query, asked, _FAULT_SEARCH_K))
                if returned < asked:
                    return f"Annoy returned {returned} of {asked} neighbours; it may be miscompiled"
        return ""

    def _find_candidates(
        self,
        band: Band,
        directions: Directions,
        best: Best,
        active: Positions,
        pool: ThreadPoolExecutor,
    ) -> tuple[Positions, Positions]:
        """Return queries and items of the band that are worth an exact score, shapes ``(n,)``."""
        if band.scan is not None:
            floors = best.floors[active]
            lowest = (floors / directions.lengths[active]).min() / _BOUND_SLACK
            block = multiply(directions.narrow[active], band.scan.rows_down_to(lowest))
            margin = rounding_error(self.vectors.shape[1]) * band.largest_norm
            rows, items = find_promising(block, floors, best.k, margin)
            return active[rows], items
        if band.annoy is None:  # zero vectors: all tie, so the lowest positions will do
            count = min(best.k, len(band.positions))
            return np.repeat(active, count), np.tile(np.arange(count), len(active))
        found = self._ask_annoy(band.annoy, directions.narrow[active], best.k, pool)
        rows = np.repeat(active, [len(items) for items in found])
        return rows, np.concatenate([np.asarray(items, dtype=np.int64) for items in found])

    def _ask_annoy(
        self, annoy: AnnoyLike, queries: Matrix, k: int, pool: ThreadPoolExecutor
    ) -> list[list[int]]:
        share = max(1.0, k / _CALIBRATED_K)
        count = int(self.effort.candidates * share)
        search_k = int(self.effort.search_k * share)

        def ask(part: Matrix) -> list[list[int]]:
            return [annoy.get_nns_by_vector(query, count, search_k) for query in part.tolist()]

        if len(queries) == 1:
            return ask(queries)
        # Annoy lets go of the interpreter while it searches.
        parts = pool.map(ask, np.array_split(queries, min(len(queries), self._threads)))
        return [items for part in parts for items in part]
