"""Inputs of a person's own network on the disk: tensors of any type and shape, example by example.

Imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracin_core.errors import TracInError
from tracin_core.files import atomic_folder, flush_to_disk, naming

ABOUT_FILE = "about.json"


class NotStorableError(TracInError):
    """Inputs that are not of one structure, of no type that arrays have, or too large."""


class StoredInputs:
    """Inputs in memory-mapped files, one for each tensor of an input.

    Examples lie one behind the other, each with a shape of its own, so texts of different lengths
    take no more room than they need.
    """

    def __init__(self, folder: Path) -> None:
        """Open what ``store_inputs`` wrote.

        Raises:
            OSError: If a file is missing.
            ValueError: If one is not whole.
        """
        about = json.loads((folder / ABOUT_FILE).read_bytes())
        self._keys: list[str] | None = about["keys"]
        self._is_tuple: bool = about["tuple"]
        self._shapes = [np.load(folder / f"{n}.npy") for n in range(len(about["types"]))]
        self._ends = [np.cumsum(shapes.prod(axis=1)) for shapes in self._shapes]
        self._numbers = [
            _map_numbers(folder / f"{n}.bin", np.dtype(name), int(ends[-1]) if len(ends) else 0)
            for n, (name, ends) in enumerate(zip(about["types"], self._ends, strict=True))
        ]

    def __len__(self) -> int:
        return len(self._shapes[0])

    def read(self, position: int) -> Any:
        """Return the input of one example, as the transform made it."""
        tensors = []
        for shapes, ends, numbers in zip(self._shapes, self._ends, self._numbers, strict=True):
            start = int(ends[position - 1]) if position else 0
            found = np.array(numbers[start : int(ends[position])])
            tensors.append(torch.from_numpy(found).reshape(tuple(shapes[position].tolist())))
        if self._keys is not None:
            return dict(zip(self._keys, tensors, strict=True))
        return tuple(tensors) if self._is_tuple else tensors[0]


def store_inputs(folder: Path, inputs: Iterable[Any], *, most_bytes: int) -> None:
    """Write inputs into a folder, which is there whole or not at all.

    Args:
        folder: Theirs alone.
        inputs: Of one or more examples, by position.
        most_bytes: That they may take.

    Raises:
        NotStorableError: If they do not fit; then nothing is kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as building:
        about, shapes = _write_numbers(building, inputs, most_bytes)
        for number, rows in enumerate(shapes):
            np.save(building / f"{number}.npy", np.array(rows, dtype=np.int64))
        (building / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
        for path in building.iterdir():
            flush_to_disk(path)


def list_arrays(made: Any) -> list[npt.NDArray[Any]]:
    """Return the tensors of an input as arrays, in order.

    Raises:
        NotStorableError: If they are nested, or of a type that arrays do not have.
    """
    if isinstance(made, Mapping):
        tensors: Sequence[Any] = list(made.values())
    else:
        tensors = made if isinstance(made, tuple) else [made]
    return [_as_array(tensor) for tensor in tensors]


def _as_array(tensor: Any) -> npt.NDArray[Any]:
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
        raise NotStorableError(f"Found a {type(tensor).__name__}, expected a plain tensor.")
    try:
        return tensor.as_subclass(Tensor).cpu().contiguous().numpy()
    except (TypeError, RuntimeError) as error:  # such as bfloat16
        raise NotStorableError(f"Found {tensor.dtype}, which arrays do not have.") from error


def _write_numbers(
    folder: Path, inputs: Iterable[Any], most_bytes: int
) -> tuple[dict[str, Any], list[list[tuple[int, ...]]]]:
    """Write the numbers; return what they are, and the shape of every example's every tensor."""
    about: dict[str, Any] = {}
    shapes: list[list[tuple[int, ...]]] = []
    num_bytes = 0
    with ExitStack() as opened:
        for made in inputs:
            arrays = list_arrays(made)
            found = _describe(made, arrays)
            if not about:
                about, shapes = found, [[] for _ in arrays]
                paths = [folder / f"{number}.bin" for number in range(len(arrays))]
                files = [opened.enter_context(path.open("wb")) for path in paths]
            if found != about:
                raise NotStorableError(f"Found {found} after {about}; expected the same for all.")
            num_bytes += sum(array.nbytes for array in arrays)
            if num_bytes > most_bytes:
                raise NotStorableError(f"Expected at most {most_bytes} bytes.")
            for array, file, rows in zip(arrays, files, shapes, strict=True):
                with naming(Path(file.name)):
                    file.write(array.tobytes())
                rows.append(array.shape)
    return about, shapes


def _describe(made: Any, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, Any]:
    return {
        "keys": list(made) if isinstance(made, Mapping) else None,
        "tuple": isinstance(made, tuple),
        "types": [array.dtype.str for array in arrays],
        "axes": [array.ndim for array in arrays],
    }


def _map_numbers(path: Path, kind: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    """Map a file of numbers into memory; an empty one cannot be mapped."""
    if path.stat().st_size != count * kind.itemsize:
        raise ValueError(f"{path} is not whole")
    mapped = np.memmap(path, dtype=kind, mode="r") if count else np.zeros(0, dtype=kind)
    return mapped.view(np.ndarray)  # whose parts are cheaper to take than those of a memmap
