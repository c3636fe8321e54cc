"""The parts of an index that are open: each from its first search on, and so many as fit a limit.

A part is checked byte by byte when it is first opened, as ``open_index`` does. Opened again by the
same process it is not read through once more unless a file of it has changed on the disk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.annoy_io import AnnoyFactory
from tracin_core.retrieval.exact import Matrix, as_vectors
from tracin_core.retrieval.index import Index, check_index, load_index, read_vectors
from tracin_core.retrieval.parts.record import PartsRecord
from tracin_core.retrieval.record import IndexRecord, read_record

# Of each file: its name, its place on the disk, size, and times of change of content and of entry.
Status = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class PartsSource:
    """Where the parts of an index lie, and how they are opened.

    Attributes:
        folder: That of the index.
        vectors: The vectors of each part, shape ``(rows, D)``; None where they were saved with it.
        memory_limit: Bytes of the parts that are open at a time; one always is. None for no limit.
        annoy_factory: Makes an empty Annoy index of so many dimensions.
    """

    folder: Path
    vectors: Sequence[ArrayLike] | None
    memory_limit: int | None
    annoy_factory: AnnoyFactory


class OpenedParts:
    """Opens parts when they are asked for, and closes those that were asked for longest ago.

    May be used from several threads.

    Args:
        record: Of the whole index.
        source: Where its parts lie.
        checked: State of the files of parts that need no check, by number, from ``read_status``.

    Attributes:
        record: Of the whole index.
        source: Where its parts lie.
        checked: The same, with the parts that were checked since.
        starts: Position of the first vector of each part.
        order: Numbers of the parts, those with the longest vectors first.
    """

    def __init__(
        self, record: PartsRecord, source: PartsSource, checked: Mapping[int, Status] | None = None
    ) -> None:
        self.record, self.source = record, source
        rows = [part.rows for part in record.parts]
        self.starts: tuple[int, ...] = (0, *accumulate(rows))[:-1]
        norms = [part.largest_norm for part in record.parts]
        self.order: list[int] = np.argsort(-np.array(norms), kind="stable").tolist()
        self._open: OrderedDict[int, tuple[Index, int]] = OrderedDict()
        self.checked: dict[int, Status] = dict(checked or {})
        self._lock = threading.RLock()

    @property
    def open_bytes(self) -> int:
        """Bytes of the parts that are open: of their files, and of vectors that lie elsewhere."""
        with self._lock:
            return sum(size for _, size in self._open.values())

    def open(self, number: int) -> Index:
        """Return a part; it is valid as long as the caller holds it.

        Raises:
            RetrievalError: If the part is missing, corrupt, or changed; the message names it.
        """
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number][0]
            folder = self.source.folder / self.record.parts[number].folder
            status = read_status(folder)
            size = sum(entry[2] for entry in status)
            vectors = self.source.vectors
            if vectors is not None:
                size += np.asanyarray(vectors[number]).nbytes
            self._close_for(size)
            index = self._load(number, folder, status)
            self._open[number] = (index, size)
            return index

    def _load(self, number: int, folder: Path, status: Status) -> Index:
        own = read_record(folder)
        vectors = self._find_vectors(number, folder, own)
        if self.checked.get(number) != status:
            check_index(folder, own, vectors)
            self.checked[number] = status
        return load_index(folder, own, vectors, self.source.annoy_factory)

    def _find_vectors(self, number: int, folder: Path, own: IndexRecord) -> Matrix:
        given = self.source.vectors
        part = self.record.parts[number]
        if (own.rows, own.fingerprint) != (part.rows, part.fingerprint):
            raise RetrievalError(
                f"Part {part.folder} of the index in {self.source.folder} changed since the index "
                "was opened. Open the index again."
            )
        return as_vectors(read_vectors(folder) if given is None else given[number])

    def _close_for(self, size: int) -> None:
        """Close parts, those asked for longest ago first, until one of so many bytes fits."""
        limit = self.source.memory_limit
        while limit is not None and self._open and self.open_bytes + size > limit:
            self._open.popitem(last=False)


def read_status(folder: Path) -> Status:
    """Return the state of every file of a part; what is missing is said by whoever opens it."""
    entries = []
    for path in sorted(folder.rglob("*")):
        found = path.lstat()
        # The last one cannot be set by whoever changes a file and puts its time back.
        times = (found.st_mtime_ns, found.st_ctime_ns)
        entries.append((path.name, found.st_ino, found.st_size, *times))
    return tuple(entries)
