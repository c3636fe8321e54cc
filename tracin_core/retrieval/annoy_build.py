"""Building the bands of an Annoy index."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracin_core.retrieval.annoy_bands import AnnoyBands
from tracin_core.retrieval.annoy_files import (
    AnnoyFactory,
    make_annoy,
    name_annoy_file,
    open_bands,
    save_bands,
)
from tracin_core.retrieval.band import Band, Effort
from tracin_core.retrieval.bands import Cut, cut_bands
from tracin_core.retrieval.scan import Scan
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions

# The number of threads that build one band's trees is fixed, because Annoy seeds each thread:
# the same trees on every machine.
_TREE_THREADS = 4
_TREES = 16
# Up to this size a band is scanned exactly: that takes 0.1 ms, no more than to ask Annoy and to
# score its candidates.
_SCANNED_NUMBERS = 1 << 20
# Rows turned to Python numbers at a time; Annoy takes nothing else.
_ROWS_AT_ONCE = 1024


def build_bands(
    vectors: Matrix,
    norms: Numbers,
    effort: Effort,
    *,
    folder: Path | None = None,
    seed: int = 0,
    factory: AnnoyFactory = make_annoy,
) -> AnnoyBands:
    """Build the bands, in parallel.

    Args:
        vectors: Train vectors, shape ``(N, D)``.
        norms: Their norms, shape ``(N,)``.
        effort: How hard a query will search.
        folder: An empty folder for the files, which are memory-mapped; None keeps all in memory.
        seed: Seeds the trees.
        factory: Makes an empty index.

    Raises:
        RetrievalError: If annoy is missing.
    """
    factory(vectors.shape[1])  # says at once that annoy is missing
    # Stable: of equal norms the lower position first.
    order = np.argsort(-norms, kind="stable")
    cuts = cut_bands(norms[order], _SCANNED_NUMBERS // vectors.shape[1])
    builder = _Builder(vectors, norms, order, folder, seed, factory)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bands = list(pool.map(builder.build, cuts))
    if folder is None:
        return AnnoyBands(vectors, bands, effort)
    save_bands(folder, bands, order, vectors.shape[1])
    # What is measured from here on is what will be opened later.
    return open_bands(vectors, norms, effort, folder, factory=factory)


@dataclass(frozen=True)
class _Builder:
    """Builds single bands; may be used from several threads."""

    vectors: Matrix
    norms: Numbers
    order: Positions
    folder: Path | None
    seed: int
    factory: AnnoyFactory

    def build(self, cut: Cut) -> Band:
        """Build the band of the vectors at ``order[cut.start : cut.stop]``."""
        positions = self.order[cut.start : cut.stop]
        largest = float(self.norms[positions[0]])
        if largest == 0:
            return Band(largest, positions)
        if cut.scanned:
            rows = np.ascontiguousarray(self.vectors[positions])
            return Band(largest, positions, Scan(rows, self.norms[positions]))
        annoy = self.factory(self.vectors.shape[1])
        annoy.set_seed(self.seed)
        for first in range(0, len(positions), _ROWS_AT_ONCE):
            chunk = positions[first : first + _ROWS_AT_ONCE]
            # At unit length, because the squares of a tiny gradient underflow in float32.
            units = self.vectors[chunk] / self.norms[chunk, None]
            for item, unit in enumerate(units.tolist(), first):
                annoy.add_item(item, unit)
        annoy.build(_TREES, n_jobs=_TREE_THREADS)
        if self.folder is not None:
            annoy.save(str(self.folder / name_annoy_file(cut.start)))  # from here on memory-mapped
        return Band(largest, positions, annoy=annoy)
