"""An index over train vectors: searching it, and opening a saved one."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.array_headers import HEADER_ERRORS
from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import AnnoyBands
from tracin_core.retrieval.annoy_files import AnnoyFactory, make_annoy, open_bands
from tracin_core.retrieval.band import Effort
from tracin_core.retrieval.device_search import DeviceSearch, find_gpu
from tracin_core.retrieval.exact import CosineSearch, ExactSearch
from tracin_core.retrieval.index_record import IndexRecord, Kind, check_files, read_record
from tracin_core.retrieval.queries import Found, Measure, Searcher, Side
from tracin_core.retrieval.vectors import Numbers, as_vectors, compute_fingerprint

NORMS_FILE = "norms.npy"
BANDS_FOLDER = "bands"

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
    ) -> Found:
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


def open_index(
    path: Path | str, train_vectors: ArrayLike, *, annoy_factory: AnnoyFactory = make_annoy
) -> Index:
    """Open a saved index; its files are memory-mapped.

    Args:
        path: The folder that ``build_index`` wrote.
        train_vectors: The same vectors, shape ``(N, D)``; they are not part of the index.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

    Raises:
        RetrievalError: If the index is missing, corrupt, changed since it was built, or of other
            vectors, or annoy is missing and it needs it.
    """
    folder, vectors = Path(path), as_vectors(train_vectors)
    record = read_record(folder)
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
