"""Rows of a ``.npy`` file in the making: written batch by batch, gone on with after a kill.

The place on the disk is taken at the start, and each finished batch is a line of a journal with its
digest. A kill loses at most a batch; what a power cut or a damaged disk has left is recognised by
length, header and digests, and only the sound batches at the beginning are kept. Batches are cut
the same way each time, so that the whole file has the same bits however often it was gone on with.
Where it is wanted, the journal stays with the whole array, which can then be checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tracin_core.files import flush_to_disk, naming, replace_folder

ROWS_FILE = "inputs.npy"
JOURNAL_FILE = "journal.jsonl"
# What stands around the folder's name until it is whole.
BEFORE, BEHIND = ".", ".unfinished"


class UnfinishedRows:
    """A folder with an array that is being written.

    Attributes:
        done: Rows that are there.
    """

    def __init__(
        self, folder: Path, shape: Sequence[int], kind: str, *, rows_at_once: int, made_from: str
    ) -> None:
        """Go on with what a kill has left of the same array, or begin it.

        The caller sees to it that one process at a time works on a folder.

        Args:
            folder: What the whole array's folder will be called.
            shape: Of the array, rows first.
            kind: Type of its numbers, as NumPy names it.
            rows_at_once: Rows of a batch; the last one may have fewer.
            made_from: Stands for everything that decides the rows.

        Raises:
            OSError: If there is no room for all rows, before any work has gone into them.
        """
        self._final = folder
        self._folder = folder.with_name(f"{BEFORE}{folder.name}{BEHIND}")
        self._shape, self._type = tuple(shape), np.dtype(kind)
        self._rows_at_once = rows_at_once
        self._head = {"made_from": made_from, "rows_at_once": rows_at_once}
        self._header = _make_header(self._shape, self._type)
        self._row_bytes = int(np.prod(self._shape[1:], dtype=np.int64)) * self._type.itemsize
        self.done = self._find_sound() if self._folder.is_dir() else 0
        if not self.done:
            self._begin()

    @property
    def _path(self) -> Path:
        return self._folder / ROWS_FILE

    @property
    def _journal(self) -> Path:
        return self._folder / JOURNAL_FILE

    @property
    def _length(self) -> int:
        return len(self._header) + self._shape[0] * self._row_bytes

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write the next batch.

        Raises:
            ValueError: If it has not the batch's shape and type.
            OSError: If it cannot be written.
        """
        wanted = (min(self._rows_at_once, self._shape[0] - self.done), *self._shape[1:])
        if rows.shape != wanted or rows.dtype != self._type:
            raise ValueError(f"found {rows.dtype} {rows.shape}, expected {self._type} {wanted}")
        content = rows.tobytes()
        with naming(self._path), self._path.open("r+b") as file:
            file.seek(len(self._header) + self.done * self._row_bytes)
            file.write(content)
        line = json.dumps({"rows": len(rows), "digest": _digest(content)}) + "\n"
        with naming(self._journal), self._journal.open("ab") as file:
            file.write(line.encode())
        self.done += len(rows)

    def finish(self, *, with_digests: bool = False) -> None:
        """Give the whole array its name; what had it is replaced.

        Args:
            with_digests: Whether the digests of its batches stay beside it, for ``is_sound``.
        """
        if self.done != self._shape[0]:
            raise ValueError(f"found {self.done} rows, expected {self._shape[0]}")
        flush_to_disk(self._path)
        if with_digests:
            flush_to_disk(self._journal)
        else:
            self._journal.unlink()
        replace_folder(self._folder, self._final)

    def discard(self) -> None:
        """Delete what is there."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> None:
        self.discard()
        self._folder.mkdir(parents=True)
        try:
            with naming(self._path), self._path.open("wb") as file:
                file.write(self._header)
                file.truncate(self._length)
                if sys.platform == "linux":  # macOS takes the place when rows are written
                    os.posix_fallocate(file.fileno(), 0, self._length)
            self._journal.write_text(json.dumps(self._head) + "\n", encoding="utf-8")
        except OSError:
            self.discard()
            raise

    def _find_sound(self) -> int:
        """Return how many rows are sound, and take the lines of others out of the journal."""
        try:
            lines = self._journal.read_bytes().splitlines(keepends=True)
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != self._length:
                    return 0
                if not lines or json.loads(lines[0]) != self._head:
                    return 0
                if file.read(len(self._header)) != self._header:
                    return 0
                rows, num_lines = self._check_batches(file, lines[1:])
        except (OSError, ValueError, RecursionError):
            return 0
        os.truncate(self._journal, sum(map(len, lines[: 1 + num_lines])))
        return rows

    def _check_batches(self, file: BinaryIO, lines: list[bytes]) -> tuple[int, int]:
        """Return the rows, and the lines of the journal, before the first unsound batch."""
        rows = 0
        for number, line in enumerate(lines):
            count = min(self._rows_at_once, self._shape[0] - rows)
            if not count or not line.endswith(b"\n"):
                return rows, number
            found = {"rows": count, "digest": _digest(file.read(count * self._row_bytes))}
            try:
                is_sound = json.loads(line) == found
            except (ValueError, RecursionError):
                is_sound = False
            if not is_sound:
                return rows, number
            rows += count
        return rows, len(lines)


_sound: set[tuple[str, int, int, int]] = set()


def is_sound(folder: Path, rows: npt.NDArray[Any]) -> bool:
    """Return whether a whole array has the digests that stand beside it, if any do.

    Looked at once a process, as long as the file does not change.

    Args:
        folder: The array's.
        rows: The array.
    """
    try:
        state = (folder / ROWS_FILE).stat()
        lines = (folder / JOURNAL_FILE).read_bytes().splitlines()
    except FileNotFoundError:  # of an earlier version, or an array that keeps none
        return True
    key = (str(folder), state.st_ino, state.st_mtime_ns, state.st_size)
    if key in _sound:
        return True
    place = 0
    try:
        for line in lines[1:]:
            told = json.loads(line)
            content = np.ascontiguousarray(rows[place : place + int(told["rows"])]).tobytes()
            if _digest(content) != told["digest"]:
                return False
            place += int(told["rows"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    if place != len(rows):
        return False
    _sound.add(key)
    return True


def _make_header(shape: tuple[int, ...], kind: np.dtype[Any]) -> bytes:
    buffer = BytesIO()
    described = np.lib.format.dtype_to_descr(kind)
    head = {"descr": described, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, head)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
