"""An index over train vectors: built, measured against exact search, saved, opened and searched.

``build_index`` takes exact search while that is fast, and Annoy by bands of norms where it proves
good (``calibration``); what is known of a saved index stands beside it (``record``).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.files import HEADER_ERRORS, atomic_folder, translate_disk_errors
from tracin_core.retrieval.annoy_bands import AnnoyBands, Effort
from tracin_core.retrieval.annoy_io import AnnoyFactory, build_bands, make_annoy, open_bands
from tracin_core.retrieval.calibration import EFFORTS, LOWEST_RECALL, calibrate, draw_queries
from tracin_core.retrieval.cuda import DeviceSearch, find_gpu
from tracin_core.retrieval.exact import (
    SIDES,
    CosineSearch,
    ExactSearch,
    Matrix,
    Measure,
    Numbers,
    Searcher,
    SearchResult,
    Side,
    as_vectors,
    compute_fingerprint,
)
from tracin_core.retrieval.record import (
    IndexRecord,
    Kind,
    check_files,
    hash_files,
    read_record,
    report_changed,
)

# Half of the 100 ms in which a page feels immediate; the page must be drawn too.
EXACT_SECONDS = 0.05
_TIMED_QUERIES = 9
# Exact search is given up for one that is at least so many times faster.
_WORTHWHILE = 2

KindChoice = Literal["auto", "exact", "annoy"]

NORMS_FILE = "norms.npy"
BANDS_FOLDER = "bands"
VECTORS_FILE = "vectors.npy"

# More than this share of all vectors is faster found by looking at all.
_LARGEST_SHARE = 100
# Fewer queries are not worth the way to a GPU.
_MANY_QUERIES = 256


class Index:
    """Finds the train vectors with the largest and the smallest dot products.

    Attributes:
        record: What is known of it.
        exact: Exact search over the same vectors, whatever the kind.
    """

    def __init__(
        self, record: IndexRecord, exact: ExactSearch, bands: AnnoyBands | None = None
    ) -> None:
        self.record = record
        self.exact = exact
        self._bands = bands
        self._devices: dict[tuple[Measure, str], DeviceSearch] = {}

    def __repr__(self) -> str:
        size = f"{self.record.rows:,} vectors of {self.record.dimensions:,} numbers"
        return f"Index({self.kind}, {size}, recall {self.recall:.3f})"

    @property
    def kind(self) -> Kind:
        """What answers the searches: ``"exact"`` or ``"annoy"``."""
        return self.record.kind

    @property
    def recall(self) -> float:
        """Measured share of the true ten best that are found, on the worse side."""
        return min(self.record.recalls.values())

    @property
    def note(self) -> str:
        """Why it is of this kind."""
        return self.record.note

    def search(
        self,
        query_vectors: ArrayLike,
        k: int = 10,
        side: Side = "proponents",
        *,
        measure: Measure = "influence",
        device: str = "cpu",
    ) -> SearchResult:
        """Find the k best train vectors for each query.

        The k best by order are returned whatever their sign (see ``ExactSearch``). By cosine the
        search is exact in every index. Of 100,000 vectors of 256 numbers that takes 5 ms a
        query; one angular Annoy of 20 trees over them found 98% of the ten best in 2.4 ms where
        there were ten classes, and 45% in 3.7 ms where there were none.

        Args:
            query_vectors: Shape ``(M, D)`` or ``(D,)``; thousands are searched in parts, in
                memory that does not grow with their number.
            k: Number of neighbours; at most ``N`` are returned.
            side: ``"proponents"`` or ``"opponents"``.
            measure: ``"influence"``, the dot product, or ``"cosine"``, which ignores how large
                gradients are.
            device: ``"cpu"`` needs no torch. ``"auto"`` searches exactly on a CUDA device for 256
                queries or more, if there is one; a device as torch names it, always there.

        Returns:
            Train positions and exact scores, shapes ``(M, k)`` or ``(k,)``, best first.

        Raises:
            RetrievalError: If the queries do not fit, hold NaN, or an option is wrong.
        """
        validate_measure(measure)
        device = choose_device(device, query_vectors)
        if device != "cpu":
            return self._on_device(measure, device).search(query_vectors, k, side)
        return self.choose_searcher(k, measure).search(query_vectors, k, side)

    def choose_searcher(self, k: int, measure: Measure = "influence") -> ExactSearch | AnnoyBands:
        """Return what answers a search for k neighbours on the processor."""
        if measure == "cosine":
            return self._cosine
        if self._bands is None or k * _LARGEST_SHARE > self.record.rows:
            return self.exact
        return self._bands

    @cached_property
    def _cosine(self) -> CosineSearch:
        return CosineSearch(self.exact.vectors, self.exact.norms)

    def _on_device(self, measure: Measure, device: str) -> DeviceSearch:
        """Return the same search as last time, whose vectors may be on the device already."""
        key = (measure, device)
        if key not in self._devices:
            self._devices[key] = DeviceSearch(self.exact, measure, device)
        return self._devices[key]


def validate_measure(measure: Measure) -> None:
    """Check the measure of a search.

    Raises:
        RetrievalError: If there is none of that name.
    """
    if measure not in ("influence", "cosine"):
        raise RetrievalError(
            f"Found measure {measure!r}; expected 'influence' or 'cosine'. Use 'cosine' to "
            "leave aside how large gradients are."
        )


def choose_device(device: str, query_vectors: ArrayLike) -> str:
    """Return where queries are searched for: the device, or for ``"auto"`` the best there is."""
    if device != "auto":
        return device
    shape = np.shape(query_vectors)
    return (find_gpu() if len(shape) == 2 and shape[0] >= _MANY_QUERIES else None) or "cpu"


def build_index(
    train_vectors: ArrayLike,
    kind: KindChoice = "auto",
    path: Path | str | None = None,
    *,
    with_vectors: bool = False,
    seed: int = 0,
    annoy_factory: AnnoyFactory = make_annoy,
    exact_seconds: float | None = None,
) -> Index:
    """Build an index, measure it, and save it.

    ``"auto"`` is exact while a query is answered in time on this machine, and where annoy is
    missing. An Annoy index that finds less than 95% of the true neighbours of a sample of
    queries, on either side, is not used: the index is exact then, and its ``note`` says why.

    Args:
        train_vectors: Shape ``(N, D)``; a memory-mapped matrix stays on disk.
        kind: ``"auto"``, ``"exact"`` or ``"annoy"``.
        path: Folder for the index, replaced as a whole; None keeps it in memory.
        with_vectors: Save the vectors in the folder too, so that ``open_index`` needs only it.
        seed: Seeds Annoy's trees and the sample.
        annoy_factory: Makes an empty Annoy index of so many dimensions.
        exact_seconds: So long an exact search may take for ``"auto"`` to choose it; None for 50 ms.

    Raises:
        RetrievalError: If the vectors are no finite matrix, ``kind`` is ``"annoy"`` and annoy is
            missing, or vectors are to be saved nowhere.
        StorageError: If the folder cannot be written.
    """
    if kind not in ("auto", "exact", "annoy"):
        raise RetrievalError(f"Found kind {kind!r}; expected 'auto', 'exact' or 'annoy'.")
    if with_vectors and path is None:
        raise RetrievalError("Found with_vectors=True without a path; expected path=, a folder.")
    started = time.perf_counter()
    exact = ExactSearch(train_vectors)
    stopwatch = _Stopwatch(exact, draw_queries(exact, seed, _TIMED_QUERIES))
    with _open_folder(path) as folder:
        limit = EXACT_SECONDS if exact_seconds is None else exact_seconds
        trial = _decide(stopwatch, kind, folder, seed, annoy_factory, limit)
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
            if with_vectors:
                np.save(folder / VECTORS_FILE, exact.vectors)
            record = replace(record, digests=hash_files(folder))
            record.write(folder)
    return Index(record, exact, trial.bands)


def open_index(
    path: Path | str,
    train_vectors: ArrayLike | None = None,
    *,
    annoy_factory: AnnoyFactory = make_annoy,
) -> Index:
    """Open a saved index; its files are memory-mapped.

    Args:
        path: The folder that ``build_index`` wrote.
        train_vectors: The same vectors, shape ``(N, D)``; None where they were saved with it.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

    Raises:
        RetrievalError: If the index is missing, corrupt, changed since it was built, or of other
            vectors, or annoy is missing and it needs it.
    """
    folder = Path(path)
    record = read_record(folder)
    vectors = as_vectors(read_vectors(folder) if train_vectors is None else train_vectors)
    check_index(folder, record, vectors)
    return load_index(folder, record, vectors, annoy_factory)


def check_index(folder: Path, record: IndexRecord, vectors: Matrix) -> None:
    """Check that the files of an index and the vectors are those it was built of, every byte.

    Raises:
        RetrievalError: If they are not.
    """
    shape = (record.rows, record.dimensions)
    if shape != vectors.shape or record.fingerprint != compute_fingerprint(vectors):
        raise RetrievalError(
            f"The index in {folder} is stale: it was built over {shape[0]} vectors of {shape[1]} "
            f"numbers, and those given ({vectors.shape[0]} of {vectors.shape[1]}) are not the "
            "same. Delete the folder and build the index again."
        )
    check_files(folder, record)


def load_index(
    folder: Path, record: IndexRecord, vectors: Matrix, annoy_factory: AnnoyFactory
) -> Index:
    """Open an index whose files and vectors were checked.

    Args:
        folder: Of the index.
        record: Of the index.
        vectors: Shape ``(N, D)``.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

    Raises:
        RetrievalError: If a file is missing or corrupt, or annoy is missing and it needs it.
    """
    exact = ExactSearch(vectors, _read_norms(folder, len(vectors)))
    if record.kind == "exact":
        return Index(record, exact)
    try:
        effort = Effort(**record.effort)
    except TypeError as error:
        raise RetrievalError(
            f"The index in {folder} is corrupt ({error}). Delete the folder and build the index "
            "again."
        ) from error
    bands = open_bands(vectors, exact.norms, effort, folder / BANDS_FOLDER, factory=annoy_factory)
    return Index(record, exact, bands)


def _decide(
    stopwatch: _Stopwatch,
    requested: KindChoice,
    folder: Path | None,
    seed: int,
    factory: AnnoyFactory,
    exact_seconds: float,
) -> _MeasuredBands:
    """Choose the kind, and build and measure Annoy where it is wanted."""
    seconds = stopwatch.exact_seconds
    perfect = _MeasuredBands(None, {str(side): 1.0 for side in SIDES}, seconds, "")
    if requested == "exact":
        return perfect._replace(note="Exact search, as asked for.")
    if requested == "auto" and seconds <= exact_seconds:
        limit = f"{exact_seconds * 1000:.3g} ms"
        return perfect._replace(note=f"Exact search: it answers within {limit} here.")
    try:
        trial = _try_annoy(stopwatch, folder, seed, factory)
    except RetrievalError as error:
        if requested == "annoy":
            raise
        return perfect._replace(note=f"Exact search: {error}")
    measured = ", ".join(
        f"{recall:.3f} of the true {side}" for side, recall in trial.recalls.items()
    )
    if trial.note:
        reason = f"{trial.note}."
    elif min(trial.recalls.values()) < LOWEST_RECALL:
        reason = f"Annoy found {measured} on these vectors, and {LOWEST_RECALL} of each are needed."
    elif requested == "auto" and trial.query_seconds > seconds / _WORTHWHILE:
        reason = "Annoy is hardly faster on these vectors."
    else:
        return trial._replace(note=f"Annoy by bands of norms: it found {measured}.")
    if folder is not None:
        shutil.rmtree(folder / BANDS_FOLDER)
    return perfect._replace(note=f"Exact search: {reason}")


class _MeasuredBands(NamedTuple):
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


def _try_annoy(
    stopwatch: _Stopwatch, folder: Path | None, seed: int, factory: AnnoyFactory
) -> _MeasuredBands:
    """Build the bands and measure them; the note says what is broken, if anything is."""
    exact, place = stopwatch.exact, None if folder is None else folder / BANDS_FOLDER
    if place is not None:
        place.mkdir()
    bands = build_bands(
        exact.vectors, exact.norms, EFFORTS[0], folder=place, seed=seed, factory=factory
    )
    fault = bands.find_fault()
    recalls = {} if fault else calibrate(bands, exact, seed)
    return _MeasuredBands(bands, recalls, stopwatch.time(bands), fault)


@contextmanager
def _open_folder(path: Path | str | None) -> Iterator[Path | None]:
    """Yield a folder that appears at ``path`` when all is in it; None where nothing is saved."""
    if path is None:
        yield None
        return
    with translate_disk_errors(Path(path)), atomic_folder(Path(path)) as folder:
        yield folder


def read_vectors(folder: Path) -> Any:
    """Open the vectors that were saved with an index, as a memory map of shape ``(N, D)``.

    Raises:
        RetrievalError: If there are none, or they cannot be read.
    """
    if not (folder / VECTORS_FILE).exists():
        found = f"The index in {folder} was saved without its vectors; expected them beside it"
        raise RetrievalError(f"{found}. Pass train_vectors, or build it with with_vectors=True.")
    try:
        return np.load(folder / VECTORS_FILE, mmap_mode="r")
    except (OSError, ValueError, EOFError, *HEADER_ERRORS) as error:
        raise report_changed(folder, f"{VECTORS_FILE} cannot be read ({error})") from error


def _read_norms(folder: Path, rows: int) -> Numbers:
    try:
        norms: Numbers = np.load(folder / NORMS_FILE)
        if norms.shape == (rows,) and norms.dtype == np.float64:
            return norms
        problem = f"{norms.dtype} of shape {norms.shape}"
    except (OSError, ValueError, EOFError, *HEADER_ERRORS) as error:
        problem = str(error) or type(error).__name__
    raise RetrievalError(
        f"{folder / NORMS_FILE} is missing or corrupt ({problem}); expected {rows} norms. "
        "Delete the folder and build the index again."
    )
