"""Annoy indexes by bands: built in parallel, saved, and opened memory-mapped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tracin_core.errors import RetrievalError
from tracin_core.files import HEADER_ERRORS
from tracin_core.retrieval.annoy_bands import (
    AnnoyBands,
    AnnoyLike,
    Band,
    Cut,
    Effort,
    Scan,
    cut_bands,
)
from tracin_core.retrieval.exact import Matrix, Numbers, Positions

_LAYOUT = "bands.json"
_ORDER = "order.npy"
_ROWS = "rows.npy"

AnnoyFactory = Callable[[int], AnnoyLike]


def make_annoy(dimensions: int) -> AnnoyLike:
    """Return an empty angular index.

    Raises:
        RetrievalError: If annoy is not installed, or was not compiled.
    """
    try:
        from annoy import AnnoyIndex
    except ImportError as error:
        raise RetrievalError(
            f"Annoy cannot be loaded ({error}); approximate search needs it. It is compiled when "
            "it is installed: install a C++ compiler, then run `pip install --force-reinstall "
            "annoy`. Exact search works without it (kind='exact')."
        ) from error
    return cast(AnnoyLike, AnnoyIndex(dimensions, "angular"))


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


def name_annoy_file(start: int) -> str:
    """Return the name of the file of the band that starts there."""
    return f"band-{start:09d}.ann"


def save_bands(folder: Path, bands: list[Band], order: Positions, dimensions: int) -> None:
    """Write what the Annoy files do not hold: the order, the rows scanned exactly, the cuts."""
    scanned = [band.scan.rows for band in bands if band.scan is not None]
    np.save(folder / _ORDER, order)
    # Zero vectors alone leave none to scan.
    np.save(folder / _ROWS, np.concatenate([*scanned, np.empty((0, dimensions), np.float32)]))
    layout, start = [], 0
    for band in bands:
        stop = start + len(band.positions)
        path = folder / name_annoy_file(start)
        layout.append(
            {
                "start": start,
                "stop": stop,
                "largest_norm": band.largest_norm,
                "scanned": band.scan is not None,
                "annoy_bytes": path.stat().st_size if band.annoy is not None else None,
            }
        )
        start = stop
    (folder / _LAYOUT).write_text(json.dumps(layout, indent=1))


def open_bands(
    vectors: Matrix,
    norms: Numbers,
    effort: Effort,
    folder: Path,
    *,
    factory: AnnoyFactory = make_annoy,
) -> AnnoyBands:
    """Open saved bands; little but their layout is read before they are searched.

    Raises:
        RetrievalError: If a file is missing or corrupt, or annoy is missing.
    """
    try:
        # Plain views of what is mapped: slicing numpy's own class of maps costs microseconds.
        order = np.asarray(np.load(folder / _ORDER, mmap_mode="r"))
        rows = np.asarray(np.load(folder / _ROWS, mmap_mode="r"))
        bands, used = [], 0
        for entry in _join_scanned(json.loads((folder / _LAYOUT).read_text())):
            positions = order[entry["start"] : entry["stop"]]
            scan, annoy = None, None
            if entry["scanned"]:
                scan = Scan(rows[used : used + len(positions)], norms[positions])
                used += len(positions)
            elif entry["annoy_bytes"] is not None:
                annoy = factory(vectors.shape[1])
                _load(annoy, folder / name_annoy_file(entry["start"]), entry["annoy_bytes"])
            bands.append(Band(entry["largest_norm"], positions, scan, annoy))
        _check(len(order) == len(vectors) and used == len(rows), "sizes differ")
    except (OSError, ValueError, EOFError, *HEADER_ERRORS) as error:
        raise RetrievalError(
            f"The index in {folder} is incomplete or corrupt ({error}); expected the files that "
            "were saved with it. Delete the folder and build the index again."
        ) from error
    return AnnoyBands(vectors, bands, effort)


def _join_scanned(layout: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the layout with neighbouring scanned bands as one, as older programs saved them."""
    joined: list[dict[str, Any]] = []
    for entry in layout:
        if joined and joined[-1]["scanned"] and entry["scanned"]:
            joined[-1] = joined[-1] | {"stop": entry["stop"]}
        else:
            joined.append(entry)
    return joined


def _load(annoy: AnnoyLike, path: Path, size: int) -> None:
    # Annoy itself takes a cut-off file for a smaller index.
    _check(path.stat().st_size == size, f"{path.name} has not its {size} bytes")
    annoy.load(str(path))


def _check(sound: bool, problem: str) -> None:
    if not sound:
        raise ValueError(problem)
