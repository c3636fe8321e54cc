"""Rows of different lengths on the disk, laid end to end and read through a memory map.

Two files: `rows.bin` with the entries of all rows, and `offsets.npy` with where each begins. They
are there whole or not at all, and a row is as long as it is: a table of the longest row's width
would be some ten times as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from relabel.files import write_array
from tracin_core.files import HEADER_ERRORS, atomic_folder, flush_to_disk, naming

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


# Two whole numbers an entry: what it is of, and the bits of its weight.
ENTRY = 2
ENTRY_TYPE = np.dtype("int32")
ROWS_FILE, OFFSETS_FILE = "rows.bin", "offsets.npy"
# Rows that are written at a time, and between two reports.
ROWS_WRITTEN = 512


class RaggedRows:
    """N rows of entries ``(L, 2)``, read from the disk when they are asked for."""

    def __init__(self, entries: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> None:
        """Wrap entries that lie end to end.

        Args:
            entries: Int32, shape ``(T, 2)``.
            offsets: Where each row begins, and at last where the last one ends, shape ``(N + 1,)``.
        """
        self.entries = entries
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Return some rows filled up to the longest one's length, shape ``(B, L, 2)``."""
        return pad_rows([self.read(int(row)) for row in rows])

    def read(self, row: int) -> npt.NDArray[np.int32]:
        """Return one row as it is, shape ``(L, 2)``."""
        return self.entries[self.offsets[row] : self.offsets[row + 1]]


def pad_rows(rows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Return rows as one array, int32, shape ``(B, L, 2)``, of the longest row's length.

    What is filled up is all zeros, of which the second is the weight 0: it adds nothing and has no
    gradient. ``L`` is at least 1.
    """
    longest = max((len(row) for row in rows), default=0)
    padded = np.zeros((len(rows), max(longest, 1), ENTRY), dtype=ENTRY_TYPE)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def as_csr(rows: RaggedRows, num_columns: int) -> csr_matrix:
    """Return rows as a sparse matrix, float32, shape ``(N, V)``.

    Args:
        rows: Their entries' first numbers are columns, the second the bits of weights.
        num_columns: Columns ``V``.
    """
    from scipy.sparse import csr_matrix  # takes a tenth of a second, which no page needs

    columns = np.ascontiguousarray(rows.entries[:, 0])
    weights = np.ascontiguousarray(rows.entries[:, 1]).view(np.float32)
    return csr_matrix((weights, columns, rows.offsets), shape=(len(rows), num_columns))


def open_rows(folder: Path, count: int) -> RaggedRows | None:
    """Open rows as a read-only memory map; None where they are not whole.

    Args:
        folder: What ``write_rows`` wrote.
        count: How many rows there must be.
    """
    if not count:
        return RaggedRows(np.zeros((0, ENTRY), dtype=ENTRY_TYPE), np.zeros(1, dtype=np.int64))
    try:
        offsets = np.load(folder / OFFSETS_FILE, allow_pickle=False)
        size = (folder / ROWS_FILE).stat().st_size
    except (OSError, EOFError, ValueError, *HEADER_ERRORS):
        return None
    if offsets.shape != (count + 1,) or offsets.dtype != np.int64 or offsets[0] != 0:
        return None
    number = int(offsets[-1])
    if (np.diff(offsets) < 0).any() or size != number * ENTRY * ENTRY_TYPE.itemsize:
        return None
    if not number:  # an empty file cannot be mapped
        return RaggedRows(np.zeros((0, ENTRY), dtype=ENTRY_TYPE), offsets)
    shape = (number, ENTRY)
    return RaggedRows(np.memmap(folder / ROWS_FILE, ENTRY_TYPE, mode="r", shape=shape), offsets)


def write_rows(
    folder: Path,
    rows: Iterable[npt.NDArray[np.int32]],
    on_written: Callable[[int], None] = lambda done: None,
) -> None:
    """Write rows, which are there whole or not at all.

    Args:
        folder: Their own.
        rows: In order, read once; each ``(L, 2)``, int32.
        on_written: Told from time to time how many are done; what it raises ends the work.

    Raises:
        OSError: If the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as building:
        lengths: list[int] = []
        path = building / ROWS_FILE
        with naming(path), path.open("wb") as file:
            for row in rows:
                file.write(np.ascontiguousarray(row, dtype=ENTRY_TYPE).data)
                lengths.append(len(row))
                if len(lengths) % ROWS_WRITTEN == 0:
                    on_written(len(lengths))
        on_written(len(lengths))
        offsets = building / OFFSETS_FILE
        with naming(offsets), offsets.open("wb") as file:
            write_array(file, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        for written in (path, offsets):
            flush_to_disk(written)
