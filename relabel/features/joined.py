"""Stored rows of several splits, read as if they were one. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.features.encoding import StoredRows


class JoinedRows:
    """The rows of the first part, then those of the next, read when they are asked for."""

    def __init__(self, parts: Sequence[StoredRows]) -> None:
        """Wrap what ``open_stored_rows`` opened.

        Args:
            parts: Shapes ``(N_i, ...)``.
        """
        self.parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.generic]:
        """Return some rows, shape ``(B, ...)``; shorter ones are filled up with zeros."""
        read = list(self._read(rows))
        shape = np.max([part.shape[1:] for _, part in read], axis=0, initial=0)
        if not read:
            return np.asarray(self.parts[0][rows])
        found = np.zeros((len(rows), *shape.astype(int)), dtype=read[0][1].dtype)
        for places, part in read:
            index: tuple[Any, ...] = (places, *map(slice, part.shape[1:]))
            found[index] = part
        return found

    def _read(
        self, rows: npt.NDArray[np.intp]
    ) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.generic]]]:
        before = 0
        for part in self.parts:
            places = np.flatnonzero((rows >= before) & (rows < before + len(part)))
            if len(places):
                yield places, np.asarray(part[rows[places] - before])
            before += len(part)
