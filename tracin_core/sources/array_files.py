"""Arrays in an ``.npz`` file, read row by row instead of as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from tracin_core.archives import DAMAGED, check_size, open_zip
from tracin_core.array_headers import HEADER_ERRORS
from tracin_core.errors import InputError
from tracin_core.files import is_of_content
from tracin_core.sources.text_encoding import unreadable

_CHUNK = 8 * 2**20  # bytes read at a time
# What the readers of zip and of arrays answer damaged or encrypted files with.
_DAMAGED = (*DAMAGED, KeyError)
MAX_WHOLE = 2**28  # bytes of an array that is read as a whole: labels; and of one row
_LONGEST_HEADER = 2**20  # bytes


@dataclass(frozen=True)
class ArrayHeader:
    """What one array of a file is.

    Attributes:
        name: In the file, without ".npy".
        shape: Its sizes.
        dtype: Of its elements.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.dtype}"


class ArrayFile:
    """The arrays of an ``.npz`` file; nothing in it is ever unpickled.

    Attributes:
        headers: By name.
    """

    def __init__(self, path: Path) -> None:
        """Read the headers.

        Raises:
            InputError: If it is no ``.npz`` file, or damaged.
        """
        self.path = path
        self.headers: dict[str, ArrayHeader] = {}
        with _explained(path), open_zip(path) as archive:
            members = archive.infolist()
            check_size(path, len(members), sum(one.file_size for one in members))
            for member in archive.namelist():
                name = member.removesuffix(".npy")
                with archive.open(member) as file:
                    shape, _, dtype = _read_header(file)
                self.headers[name] = ArrayHeader(name, shape, dtype)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return a small array, such as one of labels, as a whole.

        Raises:
            InputError: If it holds Python objects, is too large, or damaged.
        """
        header = self.headers[name]
        self._check(header)
        size = math.prod(header.shape) * header.dtype.itemsize
        if size > MAX_WHOLE:
            raise InputError(
                f"The array {header} in {self.path} has {size / 2**20:,.0f} MB, expected a list "
                "of labels. Name another array with --label."
            )
        with _explained(self.path), np.load(self.path, allow_pickle=False) as arrays:
            found: npt.NDArray[Any] = arrays[name]
            return found

    def rows(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield an array's rows, shape ``header.shape[1:]``, without holding them all.

        Raises:
            InputError: As ``chunks``.
        """
        for chunk in self.chunks(name):
            yield from chunk

    def chunks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield a few megabytes of an array's rows at a time, shape ``(rows, *header.shape[1:])``.

        Raises:
            InputError: If it holds Python objects, lies in Fortran order, or is damaged.
        """
        header = self.headers[name]
        self._check(header)
        with (
            _explained(self.path),
            open_zip(self.path) as archive,
            archive.open(f"{name}.npy") as file,
        ):
            shape, by_columns, dtype = _read_header(file)
            if by_columns and len(shape) > 1:
                raise InputError(
                    f"The array {header} in {self.path} lies column by column (Fortran order). "
                    "Expected rows. Save np.ascontiguousarray(array) instead."
                )
            yield from _read_chunks(file, shape, dtype)

    def _check(self, header: ArrayHeader) -> None:
        if header.dtype.hasobject:
            raise InputError(
                f"The array {header} in {self.path} holds Python objects, which could run code "
                "when they are read. Expected numbers or text. Save array.astype(str), or numbers."
            )


def _read_chunks(
    file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[npt.NDArray[Any]]:
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    if row_bytes > MAX_WHOLE:
        raise ValueError(f"one row has {row_bytes:,} bytes, more than {MAX_WHOLE:,}")
    at_once = max(_CHUNK // max(row_bytes, 1), 1)
    for start in range(0, shape[0], at_once):
        count = min(at_once, shape[0] - start)
        data = file.read(count * row_bytes)
        if len(data) < count * row_bytes:
            raise EOFError(f"the data ends after {start:,} of {shape[0]:,} rows")
        yield np.frombuffer(data, dtype=dtype).reshape(count, *shape[1:])


class _Short:
    """The beginning of a file, of which a header is read: NumPy takes as much as one claims."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > _LONGEST_HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    start: Any = _Short(file)
    version = npy.read_magic(start)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format {version} of named fields")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, by_columns, dtype = read(start)
    except HEADER_ERRORS as error:
        raise ValueError(f"a damaged header: {type(error).__name__}") from error
    if any(size < 0 for size in shape):
        raise ValueError(f"a shape of {shape}")
    return shape, by_columns, dtype


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and not is_of_content(error):
            raise unreadable(path, error) from error
        raise InputError(
            f"{path} cannot be read as an .npz file of arrays ({error}). Expected one that "
            "np.savez or np.savez_compressed wrote. Save it again."
        ) from error
