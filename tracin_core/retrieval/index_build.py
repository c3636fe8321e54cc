"""Building an index: exact while that is fast, Annoy by bands of norms where it proves good."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.atomic_files import atomic_folder, translate_disk_errors
from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import AnnoyBands
from tracin_core.retrieval.annoy_build import build_bands
from tracin_core.retrieval.annoy_files import AnnoyFactory, make_annoy
from tracin_core.retrieval.exact import ExactSearch
from tracin_core.retrieval.index import BANDS_FOLDER, NORMS_FILE, Index
from tracin_core.retrieval.index_record import IndexRecord, hash_files
from tracin_core.retrieval.queries import SIDES, Searcher
from tracin_core.retrieval.recall import (
    EFFORTS,
    LOWEST_RECALL,
    calibrate,
    draw_queries,
)
from tracin_core.retrieval.vectors import Numbers, compute_fingerprint

# Half of the 100 ms in which a page feels immediate; the page must be drawn too.
EXACT_SECONDS = 0.05
_TIMED_QUERIES = 9
# Exact search is given up for one that is at least so many times faster.
_WORTHWHILE = 2

Wish = Literal["auto", "exact", "annoy"]


class _Trial(NamedTuple):
    """An Annoy index that was built and measured; ``bands`` is None where it is not used."""

    bands: AnnoyBands | None
    recalls: dict[str, float]
    query_seconds: float
    note: str


class _Stopwatch:
    """Times single queries, each for ten neighbours of both sides, on this machine."""

    def __init__(self, exact: ExactSearch, queries: Numbers) -> None:
        self.exact = exact
        self._queries = queries
        self.exact_seconds = self.time(exact)

    def time(self, searcher: Searcher) -> float:
        """Return the median seconds of a search for one side."""
        seconds = [0.0]
        for query in self._queries:
            for side in SIDES:
                started = time.perf_counter()
                searcher.search(query, side=side)
                seconds.append(time.perf_counter() - started)
        return float(np.median(seconds))


def build_index(
    train_vectors: ArrayLike,
    kind: Wish = "auto",
    path: Path | str | None = None,
    *,
    seed: int = 0,
    annoy_factory: AnnoyFactory = make_annoy,
) -> Index:
    """Build an index, measure it, and save it.

    ``"auto"`` is exact while a query takes 50 ms or less on this machine, and where annoy is
    missing. An Annoy index that finds less than 95% of the true neighbours of a sample of
    queries, on either side, is not used: the index is exact then, and its ``note`` says why.

    Args:
        train_vectors: Shape ``(N, D)``; a memory-mapped matrix stays on disk.
        kind: ``"auto"``, ``"exact"`` or ``"annoy"``.
        path: Folder for the index, replaced as a whole; None keeps it in memory.
        seed: Seeds Annoy's trees and the sample.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

    Raises:
        RetrievalError: If the vectors are no finite matrix, or ``kind`` is ``"annoy"`` and
            annoy is missing.
        StorageError: If the folder cannot be written.
    """
    if kind not in ("auto", "exact", "annoy"):
        raise RetrievalError(f"Found kind {kind!r}; expected 'auto', 'exact' or 'annoy'.")
    started = time.perf_counter()
    exact = ExactSearch(train_vectors)
    stopwatch = _Stopwatch(exact, draw_queries(exact, seed, _TIMED_QUERIES))
    with _open_folder(path) as folder:
        trial = _decide(stopwatch, kind, folder, seed, annoy_factory)
        timings = {
            "exact_query": stopwatch.exact_seconds,
            "query": trial.query_seconds,
            "build": time.perf_counter() - started,
        }
        record = IndexRecord(
            kind="annoy" if trial.bands else "exact",
            rows=exact.vectors.shape[0],
            dimensions=exact.vectors.shape[1],
            fingerprint=compute_fingerprint(exact.vectors),
            recalls=trial.recalls,
            note=trial.note,
            timings=timings,
            effort=asdict(trial.bands.effort) if trial.bands else {},
        )
        if folder is not None:
            np.save(folder / NORMS_FILE, exact.norms)
            record = replace(record, digests=hash_files(folder))
            record.write(folder)
    return Index(record, exact, trial.bands)


def _decide(
    stopwatch: _Stopwatch, wish: Wish, folder: Path | None, seed: int, factory: AnnoyFactory
) -> _Trial:
    """Choose the kind, and build and measure Annoy where it is wanted."""
    seconds = stopwatch.exact_seconds
    perfect = _Trial(None, {str(side): 1.0 for side in SIDES}, seconds, "")
    if wish == "exact":
        return perfect._replace(note="Exact search, as asked for.")
    if wish == "auto" and seconds <= EXACT_SECONDS:
        limit = f"{EXACT_SECONDS * 1000:.0f} ms"
        return perfect._replace(note=f"Exact search: it answers within {limit} here.")
    try:
        trial = _try_annoy(stopwatch, folder, seed, factory)
    except RetrievalError as error:
        if wish == "annoy":
            raise
        return perfect._replace(note=f"Exact search: {error}")
    found = ", ".join(f"{recall:.3f} of the true {side}" for side, recall in trial.recalls.items())
    if trial.note:
        reason = f"{trial.note}."
    elif min(trial.recalls.values()) < LOWEST_RECALL:
        reason = f"Annoy found {found} on these vectors, and {LOWEST_RECALL} of each are needed."
    elif wish == "auto" and trial.query_seconds > seconds / _WORTHWHILE:
        reason = "Annoy is hardly faster on these vectors."
    else:
        return trial._replace(note=f"Annoy by bands of norms: it found {found}.")
    if folder is not None:
        shutil.rmtree(folder / BANDS_FOLDER)
    return perfect._replace(note=f"Exact search: {reason}")


def _try_annoy(
    stopwatch: _Stopwatch, folder: Path | None, seed: int, factory: AnnoyFactory
) -> _Trial:
    """Build the bands and measure them; the note says what is broken, if anything is."""
    exact, place = stopwatch.exact, None if folder is None else folder / BANDS_FOLDER
    if place is not None:
        place.mkdir()
    bands = build_bands(
        exact.vectors, exact.norms, EFFORTS[0], folder=place, seed=seed, factory=factory
    )
    fault = bands.find_fault()
    recalls = {} if fault else calibrate(bands, exact, seed)
    return _Trial(bands, recalls, stopwatch.time(bands), fault)


@contextmanager
def _open_folder(path: Path | str | None) -> Iterator[Path | None]:
    """Yield a folder that appears at ``path`` when all is in it; None where nothing is saved."""
    if path is None:
        yield None
        return
    with translate_disk_errors(Path(path)), atomic_folder(Path(path)) as folder:
        yield folder
