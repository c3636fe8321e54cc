"""Approximate search by dot product: one angular Annoy index for each band of norms.

Annoy's own ``dot`` metric fails on gradient vectors, whose norms are heavy-tailed. Within a
band of similar norms the order by dot product is nearly the order by angle, which Annoy is good
at. A query walks the bands from the largest norms down, scores each band's candidates exactly,
and stops when ``largest norm of the band * |query|`` cannot beat its k-th score.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.retrieval.band import CALIBRATED_K, AnnoyLike, Band, Effort
from tracin_core.retrieval.best import Best
from tracin_core.retrieval.directions import Directions, find_largest, scale_one
from tracin_core.retrieval.queries import Found, Side, as_queries, check_wish, search_in_parts
from tracin_core.retrieval.scan import BOUND_SLACK
from tracin_core.retrieval.single import walk_bands
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions, compute_scores

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

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> Found:
        """Find k of the best train vectors for each query, as ``ExactSearch.search`` does.

        A place for which no candidate was found has position ``-1``.
        """
        matrix = as_queries(queries, self.vectors.shape[1])
        if len(matrix) != 1:
            return search_in_parts(self, matrix, k, side, shape=self.vectors.shape)
        found = self._search_one(matrix[0], k, side)
        return found if np.ndim(queries) == 1 else Found(found.indices[None], found.scores[None])

    def _search_one(self, query: Numbers, k: int, side: Side) -> Found:
        k, sign = check_wish(k, side, len(self.vectors))
        largest = float(find_largest(query[None])[0])
        if largest == 0:  # a tie, which the lowest positions win
            return Found(np.arange(k), np.zeros(k))
        direction, exponent = scale_one(sign * query, largest)
        effort = self.effort.scale_to(k)
        positions, scores = walk_bands(self.vectors, self.bands, effort, direction, k)
        return Found(positions, sign * np.ldexp(scores, exponent) + 0.0)

    def search_part(self, directions: Directions, k: int) -> Best:
        """Walk the bands with some hundreds of queries; each stops for itself."""
        best = Best(len(directions.wide), k)
        reaches = directions.lengths * BOUND_SLACK
        for band in self.bands:
            # Who has stopped stays so: norms fall and floors rise.
            active = (band.largest_norm * reaches >= best.floors).nonzero()[0]
            if not len(active):
                break
            self._offer_band(band, directions, active, best)
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
                asked = min(CALIBRATED_K, len(band.positions))
                returned = len(band.annoy.get_nns_by_vector(query, asked, _FAULT_SEARCH_K))
                if returned < asked:
                    return f"Annoy returned {returned} of {asked} neighbours; it may be miscompiled"
        return ""

    def _offer_band(
        self, band: Band, directions: Directions, active: Positions, best: Best
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
            best.offer(active[rows], band.positions[items], scores)
            return
        if band.annoy is None:  # zero vectors: all tie, so the lowest positions will do
            count = min(best.k, len(band.positions))
            rows = np.repeat(np.arange(len(active)), count)
            items = np.tile(np.arange(count), len(active))
        else:
            rows, items = self._ask_annoy(band.annoy, asking.narrow, best.k)
        positions = band.positions[items]
        scores = compute_scores(self.vectors, positions, asking.wide, rows)
        best.offer(active[rows], positions, scores)

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
