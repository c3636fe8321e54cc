"""Float32 arrays on disk, opened as memory maps and never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracin_core.files import atomic_file


def write_array(path: Path, values: npt.ArrayLike) -> None:
    """Write a float32 ``.npy`` file that is there whole or not at all."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def open_array(path: Path, shape: tuple[int, int | None]) -> npt.NDArray[np.float32]:
    """Open a matrix as a read-only memory map.

    Args:
        path: The ``.npy`` file.
        shape: Rows and columns it must have; ``None`` for any number of columns.

    Raises:
        ValueError: If it is truncated, no array, or of another shape or type.
        OSError: If it cannot be read.
    """
    array: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    columns = array.shape[-1] if shape[1] is None else shape[1]
    if array.shape != (shape[0], columns) or array.dtype != np.float32:
        raise ValueError(
            f"found {array.dtype} of shape {array.shape}, expected float32 {(shape[0], columns)}"
        )
    return array
