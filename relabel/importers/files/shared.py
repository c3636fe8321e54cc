"""One opening of a file for all that is read of it: its kind, its encoding, its rows.

A file is looked at in many ways before its rows are read: is it a backup, a gzip file, Parquet, in
which encoding, with which delimiter? Each way begins at the file's beginning. Within
``share_open_files`` they all read through one opening of the file, each at a place of its own, and
nothing of the file is held in memory for it.
"""

from __future__ import annotations

import hashlib
import io
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

# Files that are kept open at once: a table is one, a data set of many parts goes through them.
_KEPT_OPEN = 8
Identity = tuple[int, int]
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class FileState:
    """What tells that a file has not been written to since.

    Attributes:
        size: Bytes.
        mtime_ns: When it was written to last, nanoseconds since 1970.
        ctime_ns: When it was changed last in any way, which no program can set back.
        inode: Which file has the name.
    """

    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0


def read_state(path: Path) -> FileState | None:
    """Return the state of a file; None for a folder, or where there is nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not path.is_file():
        return None
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def measure_files(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what tells files from all others, as a project's settings keep it.

    Several are told by one digest, of their names, sizes and bytes one after the other; what they
    are called together is the archive that they are given back in.

    Raises:
        OSError: If one cannot be read.
    """
    digest, total = hashlib.sha256(), 0
    for path in paths:
        size = path.stat().st_size
        total += size
        if len(paths) > 1:
            digest.update(f"{path.name!a} {size}\n".encode())
        with open_file(path) as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
    name = paths[0].name if len(paths) == 1 else f"{paths[0].resolve().parent.name}.zip"
    return {"name": name, "bytes": total, "sha256": digest.hexdigest()}


@contextmanager
def share_open_files() -> Iterator[None]:
    """Open every file that is read within the block once; a block within a block is the same one.

    A file that has been replaced by another one under the same name is opened again.
    """
    if _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set(_SharedFiles())
    try:
        yield
    finally:
        _SHARED.reset(token)


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes from the beginning, through the opening that is shared.

    Raises:
        OSError: If it cannot be opened.
    """
    files = _SHARED.get()
    if files is None:
        with path.open("rb") as file:
            yield file
        return
    with io.BufferedReader(_Reading(files.find(path))) as file:
        yield cast("IO[bytes]", file)


class _SharedFiles:
    """The files that are open, those that were used last; known by what they are, not by name."""

    def __init__(self) -> None:
        self._open: OrderedDict[Identity, _OpenFile] = OrderedDict()

    def find(self, path: Path) -> _OpenFile:
        known = self._open.get(identify(path.stat()))
        if known is None:
            known = _OpenFile(path)
            self._open[known.identity] = known
        self._open.move_to_end(known.identity)
        while len(self._open) > _KEPT_OPEN:
            self._open.popitem(last=False)
        return known


class _OpenFile:
    """A file's descriptor, closed when neither the block nor a reading needs it any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self.descriptor)
        self.identity = identify(os.fstat(self.descriptor))


class _Reading(io.RawIOBase):
    """A file from its beginning, whoever else reads it through the same descriptor."""

    def __init__(self, file: _OpenFile) -> None:
        self._file: _OpenFile | None = file
        self._descriptor = file.descriptor
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._file is None:
            raise ValueError("a file that is closed cannot be read")
        data = os.pread(self._descriptor, len(buffer), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._place,
            os.SEEK_END: os.fstat(self._descriptor).st_size,
        }[whence]
        if base + offset < 0:
            raise ValueError(f"a place before the beginning of the file: {base + offset}")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        super().close()
        self._file = None  # which closes the file, if nobody else needs it


def identify(found: os.stat_result) -> Identity:
    """Return what a file is, whatever names lead to it."""
    return found.st_dev, found.st_ino


_SHARED: ContextVar[_SharedFiles | None] = ContextVar("_SHARED", default=None)
