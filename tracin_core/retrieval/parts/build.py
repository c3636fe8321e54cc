"""Building an index in parts, adding a part to one, and measuring what is found among all parts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.files import atomic_folder, translate_disk_errors
from tracin_core.retrieval.annoy_io import AnnoyFactory, make_annoy
from tracin_core.retrieval.calibration import (
    LOWEST_RECALL,
    RECALL_K,
    SAMPLE_QUERIES,
    draw_queries,
    measure_recall,
)
from tracin_core.retrieval.exact import SIDES, Numbers, as_vectors
from tracin_core.retrieval.index import EXACT_SECONDS, KindChoice, build_index
from tracin_core.retrieval.parts.opened import OpenedParts, PartsSource, Status, read_status
from tracin_core.retrieval.parts.record import (
    PartRecord,
    PartsRecord,
    name_part,
    read_parts_record,
)
from tracin_core.retrieval.parts.search import IndexInParts

# The queries that measure the recall are like the vectors of so many parts, drawn at random.
_SAMPLED_PARTS = 16


def build_index_in_parts(
    parts: Sequence[ArrayLike],
    path: Path | str,
    kind: KindChoice = "auto",
    *,
    with_vectors: bool = False,
    seed: int = 0,
    annoy_factory: AnnoyFactory = make_annoy,
) -> IndexInParts:
    """Build an index over each part, measure what is found among all of them, and save it.

    One part is in memory at a time. ``"auto"`` is exact while all parts together answer within
    50 ms. Where the parts find less than 95% of the true neighbours among all, on either side, all
    are searched exactly, and the ``note`` says so.

    Args:
        parts: Train vectors of each part, shapes ``(rows, D)``, such as memory maps; positions
            count through them in this order.
        path: Folder for the index, replaced as a whole when every part is built.
        kind: ``"auto"``, ``"exact"`` or ``"annoy"``.
        with_vectors: Save the vectors in the folder too, so that it is all that is needed.
        seed: Seeds Annoy's trees and the sample.
        annoy_factory: Makes an empty Annoy index of so many dimensions.

    Raises:
        RetrievalError: If there is no part, one is no finite matrix or of another width, or
            ``kind`` is ``"annoy"`` and annoy is missing.
        StorageError: If the folder cannot be written.
    """
    if not len(parts):
        raise RetrievalError("Found no parts; expected one matrix of train vectors or more.")
    place, started = Path(path), time.perf_counter()
    builder = _PartBuilder(kind, with_vectors, seed, annoy_factory, EXACT_SECONDS / len(parts))
    with translate_disk_errors(place), atomic_folder(place) as folder:
        built: list[PartRecord] = []
        checked: dict[int, Status] = {}
        dimensions = as_vectors(parts[0]).shape[1]
        for number, vectors in enumerate(parts):
            built.append(builder.build(vectors, folder, number, dimensions))
            checked[number] = read_status(folder / built[-1].folder)
        source = PartsSource(
            folder=folder,
            vectors=None if with_vectors else parts,
            memory_limit=None,
            annoy_factory=annoy_factory,
        )
        record = _measure(dimensions, built, source, checked, seed)
        record = replace(record, timings={"build": time.perf_counter() - started})
        record.write(folder)
    return IndexInParts(record, OpenedParts(record, replace(source, folder=place), checked))


def add_part(
    index: IndexInParts, train_vectors: ArrayLike, kind: KindChoice = "auto", *, seed: int = 0
) -> IndexInParts:
    """Build one more part behind the others of a saved index, and measure all together.

    The others are read for the measurement, and not built again. Who reads the index meanwhile
    goes on with the parts there were; the record names the new one when it is whole. One process
    at a time may add to an index.

    Args:
        index: The index; it stays as it is.
        train_vectors: Of the new part, shape ``(rows, D)``; they are saved in the folder where
            those of the other parts are.
        kind: ``"auto"``, ``"exact"`` or ``"annoy"``, of the new part.
        seed: Seeds Annoy's trees and the sample.

    Returns:
        The index with the new part.

    Raises:
        RetrievalError: As for ``build_index_in_parts``; or if the index has changed on the disk
            since it was opened.
        StorageError: If the folder cannot be written.
    """
    source, record = index.parts.source, index.record
    if read_parts_record(source.folder) != record:
        raise RetrievalError(
            f"The index in {source.folder} changed after it was opened: another process added a "
            "part or built it again. Open it again, then add the part."
        )
    started, number = time.perf_counter(), len(record.parts)
    with_vectors = source.vectors is None
    limit = EXACT_SECONDS / (number + 1)
    builder = _PartBuilder(kind, with_vectors, seed, source.annoy_factory, limit)
    with translate_disk_errors(source.folder):
        added = builder.build(train_vectors, source.folder, number, record.dimensions)
        if source.vectors is not None:
            source = replace(source, vectors=[*source.vectors, train_vectors])
        checked = index.parts.checked | {number: read_status(source.folder / added.folder)}
        grown = _measure(record.dimensions, [*record.parts, added], source, checked, seed)
        seconds = record.timings.get("build", 0.0) + time.perf_counter() - started
        grown = replace(grown, timings={"build": seconds})
        grown.write(source.folder)
    return IndexInParts(grown, OpenedParts(grown, source, checked))


@dataclass(frozen=True)
class _PartBuilder:
    """Builds the parts of one index."""

    kind: KindChoice
    with_vectors: bool
    seed: int
    factory: AnnoyFactory
    exact_seconds: float

    def build(self, vectors: ArrayLike, folder: Path, number: int, dimensions: int) -> PartRecord:
        """Build the part of that number, which appears in the folder when it is whole."""
        matrix = as_vectors(vectors)
        if matrix.shape[1] != dimensions:
            raise RetrievalError(
                f"Part {number} has vectors of {matrix.shape[1]} numbers; expected {dimensions}, "
                "as the first part has. Use vectors of the same layers and projection."
            )
        part = build_index(
            matrix,
            self.kind,
            folder / name_part(number),
            with_vectors=self.with_vectors,
            seed=self.seed,
            annoy_factory=self.factory,
            exact_seconds=self.exact_seconds,
        )
        return PartRecord(
            folder=name_part(number),
            kind=part.kind,
            rows=part.record.rows,
            fingerprint=part.record.fingerprint,
            largest_norm=float(part.exact.norms.max()),
        )


def _measure(
    dimensions: int,
    built: Sequence[PartRecord],
    source: PartsSource,
    checked: Mapping[int, Status],
    seed: int,
) -> PartsRecord:
    """Return the record of the parts, with what is found among all of them.

    Args:
        dimensions: Length of the train vectors, ``D``.
        built: The parts.
        source: Where they lie.
        checked: State of the files of parts that this process has written or checked.
        seed: Seeds the sample.
    """
    perfect = PartsRecord(
        kind="exact",
        dimensions=dimensions,
        parts=tuple(built),
        recalls={str(side): 1.0 for side in SIDES},
        note="Every part is searched exactly.",
    )
    approximate = sum(part.kind == "annoy" for part in built)
    if not approximate:
        return perfect
    measured = replace(perfect, kind="annoy")
    trial = IndexInParts(measured, OpenedParts(measured, source, checked))
    queries = _draw_queries(trial.parts, seed)
    truth = {side: trial.exact.search(queries, RECALL_K, side) for side in SIDES}
    recalls = measure_recall(trial.get_searcher(), truth, queries)
    found = ", ".join(f"{recall:.3f} of the true {side}" for side, recall in recalls.items())
    if min(recalls.values()) < LOWEST_RECALL:
        reason = f"together they found {found}, and {LOWEST_RECALL} of each are needed."
        return replace(perfect, note=f"Every part is searched exactly: {reason}")
    note = f"{approximate} of {len(built)} parts by Annoy: together they found {found}."
    return replace(perfect, kind="annoy", recalls=recalls, note=note)


def _draw_queries(parts: OpenedParts, seed: int) -> Numbers:
    """Draw queries like the vectors of some parts, shape ``(M, D)``, M about 128."""
    generator = np.random.default_rng(seed)
    total = len(parts.record.parts)
    chosen = generator.choice(total, size=min(total, _SAMPLED_PARTS), replace=False)
    count = -(-SAMPLE_QUERIES // len(chosen))
    drawn = [
        draw_queries(parts.open(number).exact, seed + number, count)
        for number in sorted(chosen.tolist())
    ]
    return np.concatenate(drawn)
