"""Float32 arrays on disk, opened as memory maps and never unpickled."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tracin_core.array_headers import HEADER_ERRORS
from tracin_core.files import atomic_file, naming


def write_array(path: Path, values: npt.ArrayLike) -> None:
    """Write a float32 ``.npy`` file that is there whole or not at all."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def create_array(path: Path, shape: tuple[int, int]) -> None:
    """Make a float32 ``.npy`` file of zeros with its place on the disk taken.

    Raises:
        OSError: If there is no room for it, before any work has gone into it.
    """
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        size = file.tell() + 4 * shape[0] * shape[1]
        file.truncate(size)
        if sys.platform == "linux":  # macOS takes the place when rows are written
            os.posix_fallocate(file.fileno(), 0, size)


def write_rows(path: Path, start: int, rows: npt.NDArray[np.float32]) -> None:
    """Write consecutive rows of an array that ``create_array`` made; they are on disk after it.

    Written, not mapped: pages of a memory map would count as the process's memory.

    Args:
        path: The ``.npy`` file.
        start: Row to begin with.
        rows: Shape ``(B, D)``.

    Raises:
        ValueError: If they do not fit into the array.
    """
    rows = np.ascontiguousarray(rows, dtype="<f4")
    with naming(path), path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if shape[1:] != rows.shape[1:] or start + len(rows) > shape[0] or dtype != rows.dtype:
            raise ValueError(f"{rows.shape} rows at {start} do not fit into {dtype} {shape}")
        file.seek(4 * start * shape[1], os.SEEK_CUR)
        file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())


def open_array(path: Path, shape: tuple[int, int | None]) -> npt.NDArray[np.float32]:
    """Open a matrix as a read-only memory map.

    Args:
        path: The ``.npy`` file.
        shape: Rows and columns it must have; ``None`` for any number of columns.

    Raises:
        ValueError: If it is truncated, no array, or of another shape or type.
        OSError: If it cannot be read.
    """
    # There is no memory map of nothing.
    mode: Literal["r"] | None = "r" if shape[0] else None
    try:
        array: npt.NDArray[np.float32] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except HEADER_ERRORS as error:
        raise ValueError(f"its header cannot be read: {type(error).__name__}") from error
    columns = array.shape[-1] if shape[1] is None else shape[1]
    if array.shape != (shape[0], columns) or array.dtype != np.float32:
        raise ValueError(
            f"found {array.dtype} of shape {array.shape}, expected float32 {(shape[0], columns)}"
        )
    return array
