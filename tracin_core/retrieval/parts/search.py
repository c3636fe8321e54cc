"""An index in parts, searched as one: positions count through all parts in their order.

The parts are visited one after another, those with the longest vectors first, and what was found
so far narrows what is looked at in the next: a part whose longest vector cannot win is not opened.
Where every part is searched exactly, the answer is that of exact search over all vectors together,
to the last bit and in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_bands import BOUND_SLACK
from tracin_core.retrieval.annoy_io import AnnoyFactory, make_annoy
from tracin_core.retrieval.cuda import DeviceSearch
from tracin_core.retrieval.exact import (
    BatchSearch,
    Directions,
    Measure,
    SearchResult,
    Side,
    TopK,
    scale_to_unit,
    search_in_batches,
)
from tracin_core.retrieval.index import Index, choose_device, validate_measure
from tracin_core.retrieval.parts.opened import OpenedParts, PartsSource
from tracin_core.retrieval.parts.record import PartsRecord, read_parts_record
from tracin_core.retrieval.record import Kind

# So many queries share one visit of each part, which may have to be opened for it.
_QUERIES_A_VISIT = 4096
# Within a part the memory of a search is bounded as in a single index.
_QUERIES_AT_ONCE = 256


class IndexInParts:
    """Finds the train vectors with the largest and the smallest dot products among all parts.

    Attributes:
        record: What is known of it.
        parts: Its parts, of which few need be open.
    """

    def __init__(self, record: PartsRecord, parts: OpenedParts) -> None:
        self.record, self.parts = record, parts

    def __repr__(self) -> str:
        size = f"{self.record.rows:,} vectors of {self.record.dimensions:,} numbers"
        return f"IndexInParts({len(self.record.parts)} parts, {size}, recall {self.recall:.3f})"

    @property
    def kind(self) -> Kind:
        """``"annoy"`` where a part is searched so, ``"exact"`` where all are searched exactly."""
        return self.record.kind

    @property
    def recall(self) -> float:
        """Measured share of the true ten best of all parts that are found, on the worse side."""
        return min(self.record.recalls.values())

    @property
    def note(self) -> str:
        """Why it is of this kind."""
        return self.record.note

    @property
    def exact(self) -> MergedSearch:
        """Exact search over the same vectors, whatever the kind."""
        return MergedSearch(self.parts, lambda part, k: part.exact)

    def search(
        self,
        query_vectors: ArrayLike,
        k: int = 10,
        side: Side = "proponents",
        *,
        measure: Measure = "influence",
        device: str = "cpu",
    ) -> SearchResult:
        """Find the k best train vectors of all parts for each query, as ``Index.search`` does.

        Args:
            query_vectors: Shape ``(M, D)`` or ``(D,)``. Thousands at once open each part once.
            k: Number of neighbours; at most ``N`` are returned.
            side: ``"proponents"`` or ``"opponents"``.
            measure: ``"influence"`` or ``"cosine"``, which is searched exactly.
            device: ``"cpu"``, ``"auto"``, or a device as torch names it; there each part's vectors
                are moved to it for the search, which is exact.

        Returns:
            Positions through all parts and exact scores, shapes ``(M, k)`` or ``(k,)``.

        Raises:
            RetrievalError: If the queries do not fit, hold NaN, an option is wrong, or a part is
                missing or damaged.
        """
        validate_measure(measure)
        device = choose_device(device, query_vectors)
        if measure == "cosine":
            query_vectors = scale_to_unit(query_vectors)
        return self.get_searcher(measure, device).search(query_vectors, k, side)

    def get_searcher(self, measure: Measure = "influence", device: str = "cpu") -> MergedSearch:
        """Return what answers the searches; by cosine its queries must have unit length."""
        bounded = measure == "influence"
        if device != "cpu":
            # Not kept with the part: together they can be more than the device holds.
            return MergedSearch(
                self.parts,
                lambda part, k: DeviceSearch(part.exact, measure, device),
                bounded=bounded,
                at_once=_QUERIES_A_VISIT,
            )
        if self.kind == "exact" and measure == "influence":
            return self.exact
        return MergedSearch(
            self.parts, lambda part, k: part.choose_searcher(k, measure), bounded=bounded
        )


@dataclass(frozen=True)
class MergedSearch:
    """One way of searching every part, whose neighbours are merged.

    Attributes:
        parts: What is searched.
        choose: Returns what searches a part for k neighbours.
        bounded: Whether no score exceeds the norm of the query times that of the vector.
        at_once: Queries that a part is asked at a time.
    """

    parts: OpenedParts
    choose: Callable[[Index, int], BatchSearch]
    bounded: bool = True
    at_once: int = _QUERIES_AT_ONCE

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> SearchResult:
        """Find the k best train vectors of all parts for each query."""
        record = self.parts.record
        shape = (record.rows, record.dimensions)
        return search_in_batches(self, queries, k, side, shape=shape, at_once=_QUERIES_A_VISIT)

    def offer_best(self, directions: Directions, best: TopK, first: int = 0) -> None:
        """Offer the best of each part in turn, as ``BatchSearch`` does."""
        count = len(directions.wide)
        every = [slice(start, start + self.at_once) for start in range(0, count, self.at_once)]
        for number in self.parts.order:
            batches = [one for one in every if self._can_win(number, directions, best, one)]
            if not batches:
                continue
            searcher = self.choose(self.parts.open(number), best.k)
            for one in batches:
                wide, narrow, lengths = directions
                asking = Directions(wide[one], narrow[one], lengths[one])
                searcher.offer_best(asking, best.view(one), first + self.parts.starts[number])

    def _can_win(self, number: int, directions: Directions, best: TopK, batch: slice) -> bool:
        """Return whether a vector of the part can be among the best of a query of the batch."""
        if not self.bounded:
            return True
        reach = self.parts.record.parts[number].largest_norm * BOUND_SLACK
        return bool((reach * directions.lengths[batch] >= best.floors[batch]).any())


def open_index_in_parts(
    path: Path | str,
    train_vectors: Sequence[ArrayLike] | None = None,
    *,
    memory_limit: int | None = None,
    annoy_factory: AnnoyFactory = make_annoy,
) -> IndexInParts:
    """Open a saved index in parts; a part is opened and checked when a search needs it.

    Args:
        path: The folder that ``build_index_in_parts`` wrote.
        train_vectors: The same vectors part by part, such as memory maps of shape ``(rows, D)``;
            None where they were saved with it.
        memory_limit: Bytes of the parts that are open at a time, of which most are mapped files;
            the part that is searched always is. None for no limit.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

    Raises:
        RetrievalError: If the index or a part is missing, corrupt, or of a newer program, or the
            vectors are not of so many parts. What is wrong inside a part is raised by the search
            that opens it.
    """
    folder = Path(path)
    record = read_parts_record(folder)
    if train_vectors is not None and len(train_vectors) != len(record.parts):
        raise RetrievalError(
            f"Found the vectors of {len(train_vectors)} parts for the index in {folder}; expected "
            f"{len(record.parts)}, one array a part in the order it was built in."
        )
    if memory_limit is not None and memory_limit < 1:
        raise RetrievalError(
            f"Found memory_limit {memory_limit}; expected a number of bytes above 0, or None."
        )
    source = PartsSource(
        folder=folder,
        vectors=train_vectors,
        memory_limit=memory_limit,
        annoy_factory=annoy_factory,
    )
    return IndexInParts(record, OpenedParts(record, source))
