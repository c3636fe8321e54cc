"""Building an index: exact while that is fast, Annoy by bands of norms where it proves good."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import AnnoyBands
from tracin_core.retrieval.annoy_build import AnnoyFactory, build_bands, make_annoy
from tracin_core.retrieval.exact import ExactSearch
from tracin_core.retrieval.index import BANDS_FOLDER, NORMS_FILE, Index
from tracin_core.retrieval.index_record import IndexRecord
from tracin_core.retrieval.queries import SIDES
from tracin_core.retrieval.recall import (
    EFFORTS,
    LOWEST_RECALL,
    Searcher,
    calibrate,
    draw_queries,
)
from tracin_core.retrieval.vectors import Numbers, compute_fingerprint

# Half of the 100 ms in which a page feels immediate; the page must be drawn too.
EXACT_SECONDS = 0.05
_TIMED_QUERIES = 9

Wish = Literal["auto", "exact", "annoy"]


class _Trial(NamedTuple):
    """An Annoy index that was built and measured; ``bands`` is None where it is not used."""

    bands: AnnoyBands | None
    recalls: dict[str, float]
    note: str


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
        WorkspaceError: If the folder cannot be written.
    """
    if kind not in ("auto", "exact", "annoy"):
        raise RetrievalError(f"Found kind {kind!r}; expected 'auto', 'exact' or 'annoy'.")
    started = time.perf_counter()
    exact = ExactSearch(train_vectors)
    queries = draw_queries(exact, seed, _TIMED_QUERIES)
    timings = {"exact_query": _time_query(exact, queries)}
    with _open_folder(path) as folder:
        trial = _decide(exact, kind, timings["exact_query"], folder, seed, annoy_factory)
        timings["query"] = _time_query(trial.bands or exact, queries)
        timings["build"] = time.perf_counter() - started
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
            record.write(folder)
    return Index(record, exact, trial.bands)


def _decide(
    exact: ExactSearch,
    wish: Wish,
    exact_seconds: float,
    folder: Path | None,
    seed: int,
    factory: AnnoyFactory,
) -> _Trial:
    """Choose the kind, and build and measure Annoy where it is wanted."""
    perfect = {str(side): 1.0 for side in SIDES}
    if wish == "exact":
        return _Trial(None, perfect, "Exact search, as asked for.")
    if wish == "auto" and exact_seconds <= EXACT_SECONDS:
        note = f"Exact search: it answers within {EXACT_SECONDS * 1000:.0f} ms here."
        return _Trial(None, perfect, note)
    try:
        trial = _try_annoy(exact, folder, seed, factory)
    except RetrievalError as error:
        if wish == "annoy":
            raise
        return _Trial(None, perfect, f"Exact search: {error}")
    if trial.bands is not None:
        return trial
    return _Trial(None, perfect, trial.note)


def _try_annoy(exact: ExactSearch, folder: Path | None, seed: int, factory: AnnoyFactory) -> _Trial:
    """Build the bands and measure them; throw them away if they miss too much."""
    place = None if folder is None else folder / BANDS_FOLDER
    if place is not None:
        place.mkdir()
    bands = build_bands(
        exact.vectors, exact.norms, EFFORTS[0], folder=place, seed=seed, factory=factory
    )
    recalls = calibrate(bands, exact, seed)
    found = ", ".join(f"{recall:.3f} of the true {side}" for side, recall in recalls.items())
    if min(recalls.values()) >= LOWEST_RECALL:
        return _Trial(bands, recalls, f"Annoy by bands of norms: it found {found}.")
    if place is not None:
        shutil.rmtree(place)
    note = f"Exact search: Annoy found {found} on these vectors; at least {LOWEST_RECALL} needed."
    return _Trial(None, recalls, note)


def _time_query(searcher: Searcher, queries: Numbers) -> float:
    """Return the median seconds of a single query for ten neighbours."""
    seconds = []
    for query in queries:
        started = time.perf_counter()
        searcher.search(query)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) if seconds else 0.0


@contextmanager
def _open_folder(path: Path | str | None) -> Iterator[Path | None]:
    """Yield a folder that appears at ``path`` when all is in it; None where nothing is saved."""
    if path is None:
        yield None
        return
    # It brings pyarrow along, which an index kept in memory has no use for.
    from tracin_core.runs.atomic import atomic_folder, disk_errors_explained

    with disk_errors_explained(Path(path)), atomic_folder(Path(path)) as folder:
        yield folder
