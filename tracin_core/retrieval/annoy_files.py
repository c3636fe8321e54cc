"""The files of an Annoy index: saving its bands, and opening them memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from tracin_core.array_headers import HEADER_ERRORS
from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import AnnoyBands
from tracin_core.retrieval.band import AnnoyLike, Band, Effort
from tracin_core.retrieval.scan import Scan
from tracin_core.retrieval.vectors import Matrix, Numbers, Positions

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
