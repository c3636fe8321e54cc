"""An index over train vectors: built, measured against exact search, saved, opened and searched.

``build_index`` takes exact search while that is fast, and Annoy by bands of norms where it proves
good: ``measure_recall`` gives the share of the true neighbours that it finds, which ``index.json``
records with the fingerprint of its vectors and the digest of every file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.files import HEADER_ERRORS, atomic_folder, translate_disk_errors
from tracin_core.retrieval.annoy_bands import AnnoyBands, Effort
from tracin_core.retrieval.annoy_io import AnnoyFactory, build_bands, make_annoy, open_bands
from tracin_core.retrieval.cuda import DeviceSearch, find_gpu
from tracin_core.retrieval.exact import (
    SIDES,
    CosineSearch,
    ExactSearch,
    Measure,
    Numbers,
    Searcher,
    SearchResult,
    Side,
    as_vectors,
    compute_fingerprint,
)

Kind = Literal["exact", "annoy"]

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
        searcher = self._choose_searcher(query_vectors, k, measure, device)
        return searcher.search(query_vectors, k, side)

    def _choose_searcher(
        self, query_vectors: ArrayLike, k: int, measure: Measure, device: str
    ) -> Searcher:
        if measure not in ("influence", "cosine"):
            raise RetrievalError(
                f"Found measure {measure!r}; expected 'influence' or 'cosine'. Use 'cosine' to "
                "leave aside how large gradients are."
            )
        if device == "auto":
            shape = np.shape(query_vectors)
            device = (
                find_gpu() if len(shape) == 2 and shape[0] >= _MANY_QUERIES else None
            ) or "cpu"
        if device != "cpu":
            return self._on_device(measure, device)
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


def build_index(
    train_vectors: ArrayLike,
    kind: KindChoice = "auto",
    path: Path | str | None = None,
    *,
    with_vectors: bool = False,
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
        with_vectors: Save the vectors in the folder too, so that ``open_index`` needs only it.
        seed: Seeds Annoy's trees and the sample.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

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
    vectors = as_vectors(_read_vectors(folder) if train_vectors is None else train_vectors)
    shape = (record.rows, record.dimensions)
    if shape != vectors.shape or record.fingerprint != compute_fingerprint(vectors):
        raise RetrievalError(
            f"The index in {folder} is stale: it was built over {shape[0]} vectors of {shape[1]} "
            f"numbers, and those given ({vectors.shape[0]} of {vectors.shape[1]}) are not the "
            "same. Delete the folder and build the index again."
        )
    check_files(folder, record)
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
) -> _MeasuredBands:
    """Choose the kind, and build and measure Annoy where it is wanted."""
    seconds = stopwatch.exact_seconds
    perfect = _MeasuredBands(None, {str(side): 1.0 for side in SIDES}, seconds, "")
    if requested == "exact":
        return perfect._replace(note="Exact search, as asked for.")
    if requested == "auto" and seconds <= EXACT_SECONDS:
        limit = f"{EXACT_SECONDS * 1000:.0f} ms"
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


def _read_vectors(folder: Path) -> Any:
    if not (folder / VECTORS_FILE).exists():
        found = f"The index in {folder} was saved without its vectors; expected them beside it"
        raise RetrievalError(f"{found}. Pass train_vectors, or build it with with_vectors=True.")
    try:
        return np.load(folder / VECTORS_FILE, mmap_mode="r")
    except (OSError, ValueError, EOFError, *HEADER_ERRORS) as error:
        raise _changed(folder, f"{VECTORS_FILE} cannot be read ({error})") from error


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


RECALL_K = 10
# Below this an index is not used. From the target on no harder search is tried; it lies above
# 0.99, because the sample's recall is that much off (128 queries for 10 neighbours: 0.003).
LOWEST_RECALL = 0.95
TARGET_RECALL = 0.995
SAMPLE_QUERIES = 128

# From easy to hard; the first that reaches the target is taken.
EFFORTS = (
    Effort(32, 600),
    Effort(50, 1500),
    Effort(75, 2500),
    Effort(100, 4000),
    Effort(150, 7000),
    Effort(200, 10_000),
    Effort(400, 30_000),
)


def draw_queries(exact: ExactSearch, seed: int, count: int = SAMPLE_QUERIES) -> Numbers:
    """Draw queries like those that will be asked, a third of each kind.

    Train vectors as they are, which is what a suspect asks; train vectors with noise of their
    own length added, so that their cosine with any train vector is at most about 0.7, which is
    what a test example asks; and directions unlike any train vector, for a new example that has
    nothing to do with the data. Zero vectors are not drawn, as every index answers them.

    Returns:
        Shape ``(count, D)``; fewer rows where there are fewer train vectors.
    """
    generator = np.random.default_rng(seed)
    alive = np.flatnonzero(exact.norms)
    chosen = generator.choice(alive, size=min(count, len(alive)), replace=False)
    queries: Numbers = exact.vectors[np.sort(chosen)].astype(np.float64)
    generator.shuffle(queries)
    third = len(queries) // 3
    noise = generator.standard_normal((2 * third, queries.shape[1]))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    queries[:third] += noise[:third] * np.linalg.norm(queries[:third], axis=1, keepdims=True)
    queries[third : 2 * third] = noise[third:]
    return queries


def measure_recall(
    searcher: Searcher, truth: dict[Side, SearchResult], queries: Numbers
) -> dict[str, float]:
    """Measure which share of the true k best an index finds, on each side.

    A neighbour counts if its score reaches the true k-th score, so that ties are no misses.

    Args:
        searcher: The index.
        truth: What exact search finds for the same queries, by side.
        queries: Shape ``(M, D)``.
    """
    recalls: dict[str, float] = {}
    for side in SIDES:
        sign = 1 if side == "proponents" else -1
        found = searcher.search(queries, truth[side].scores.shape[1], side)
        reached = sign * found.scores >= sign * truth[side].scores[:, -1:]
        recalls[side] = float((reached & (found.indices >= 0)).mean()) if len(queries) else 1.0
    return recalls


def calibrate(bands: AnnoyBands, exact: ExactSearch, seed: int) -> dict[str, float]:
    """Set the least effort that reaches the target recall, or else the best one.

    Returns:
        The recall at that effort by side, measured on ``draw_queries``.
    """
    queries = draw_queries(exact, seed)
    truth = {side: exact.search(queries, RECALL_K, side) for side in SIDES}
    best: dict[str, float] = {}
    chosen = bands.effort
    for effort in EFFORTS:
        bands.effort = effort
        recalls = measure_recall(bands, truth, queries)
        if not best or min(recalls.values()) > min(best.values()):
            best, chosen = recalls, effort
        if min(best.values()) >= TARGET_RECALL:
            break
    bands.effort = chosen
    return best


SCHEMA_VERSION = 1
FILE_NAME = "index.json"


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """Saved as JSON beside the index's files.

    Attributes:
        kind: What answers the searches.
        rows: Number of train vectors, ``N``.
        dimensions: Their length, ``D``.
        fingerprint: Hash of the vectors; an index of other vectors is refused.
        recalls: Share of the true ten best that were found, by side, measured when built.
        note: Why this kind, in a sentence for the person who chose another or none.
        timings: Seconds: ``build``, ``exact_query``, ``query`` (medians of single queries).
        effort: How hard Annoy searches each band (candidates, search_k); empty if exact.
        digests: SHA-256 of every other file of the index by its name; None in the records of
            programs that wrote none.
        schema_version: Of this file.
    """

    kind: Kind
    rows: int
    dimensions: int
    fingerprint: str
    recalls: dict[str, float]
    note: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    effort: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] | None = None
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        """Write the record into an index's folder."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n")


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an index but its record, by name below the folder.

    Raises:
        RetrievalError: If there is something that is no file, or cannot be read.
    """
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == FILE_NAME or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            raise _changed(folder, f"{name} is no plain file")
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def check_files(folder: Path, record: IndexRecord) -> None:
    """Check that the files of an index are what was written, every byte of them.

    Annoy believes its file: a changed one makes it read memory that is not there, which ends the
    process. So sizes and times, which anything that copies or restores a file may keep, do not
    do. Reading a file of 1 GB takes about a second, once for each process.

    Raises:
        RetrievalError: If a file is missing, changed, or too many; or if no digests were kept and
            the index is one of Annoy.
    """
    if record.digests is None:
        if record.kind == "annoy":
            raise _changed(folder, "it was built before digests were kept")
        return  # nothing in it is believed by anything but NumPy, which checks what it reads
    if not isinstance(record.digests, dict):
        raise _changed(folder, "its record is damaged")
    found = hash_files(folder)
    differing = sorted(
        name for name in {*found, *record.digests} if found.get(name) != record.digests.get(name)
    )
    if differing:
        raise _changed(folder, f"{', '.join(differing[:3])} changed after it was built")


def _changed(folder: Path, found: str) -> RetrievalError:
    return RetrievalError(
        f"The index in {folder} is not used: {found}. Expected the files that were saved with it. "
        "Delete the folder and build the index again; `python -m relabel doctor` does both."
    )


def read_record(folder: Path) -> IndexRecord:
    """Read the record of the index in a folder.

    Raises:
        RetrievalError: If it is missing, corrupt, or of a newer version of the program.
    """
    try:
        values: dict[str, Any] = json.loads((folder / FILE_NAME).read_text("utf-8"))
        version = int(values["schema_version"])
        if version <= SCHEMA_VERSION:
            values.setdefault("digests", None)
            record = IndexRecord(**{f.name: values[f.name] for f in fields(IndexRecord)})
            if record.kind not in ("exact", "annoy"):
                raise ValueError(f"kind {record.kind!r:.80}")
            _check_types(record)
            return record
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise RetrievalError(
            f"Found no sound index in {folder} ({type(error).__name__}: {error}); expected the "
            "folder that build_index wrote. Delete the folder and build the index again."
        ) from error
    raise RetrievalError(
        f"The index in {folder} has schema version {version}; this program reads up to "
        f"{SCHEMA_VERSION}. Update the program, or delete the folder and build the index again."
    )


def _check_types(record: IndexRecord) -> None:
    """Check that the values are of the types that searches rely on.

    Raises:
        TypeError: If one is not.
    """
    for name in ("rows", "dimensions"):
        if type(getattr(record, name)) is not int:
            raise TypeError(f"{name} is no whole number")
    for name in ("recalls", "timings", "effort"):
        numbers = getattr(record, name)
        if not isinstance(numbers, dict) or not all(
            type(value) in (int, float) for value in numbers.values()
        ):
            raise TypeError(f"{name} are no numbers")
    if not record.recalls:
        raise TypeError("recalls are missing")
