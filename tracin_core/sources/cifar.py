"""CIFAR-10 and CIFAR-100, whose files are pickles, read without running what a pickle can run.

Unpickling builds objects by calling whatever the file names. Here every name but the three that
make an array leads to an error, and those three lead to plain stand-ins that take bytes and
sizes; NumPy's own unpickling is not used either.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracin_core.errors import InputError
from tracin_core.sources.text_encoding import unreadable
from tracin_core.terms import Split

_EDGE = 32  # pixels
_MAX_BYTES = 500_000_000  # of one file; the largest published one has 150 million
_NUMBERS = 3 * _EDGE * _EDGE  # of one image: all red, all green, all blue
FOLDERS = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
FILES: dict[str, dict[Split, tuple[str, ...]]] = {
    "CIFAR10": {"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)},
    "CIFAR100": {"train": ("train",), "test": ("test",)},
}
_LABELS = {"CIFAR10": "labels", "CIFAR100": "fine_labels"}
_NAMES = {
    "CIFAR10": ("batches.meta", "label_names"),
    "CIFAR100": ("meta", "fine_label_names"),
}


class _ArrayShell:
    """Stands for an array while it is read: keeps its sizes and its bytes."""

    shape: tuple[int, ...] = ()
    data: bytes = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(dtype, _TypeShell) or by_columns or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of other than bytes")
        self.shape, self.data = tuple(int(size) for size in shape), data


class _TypeShell:
    """Stands for the type of an array's elements, which must be bytes."""

    def __init__(self, name: str, *rest: object) -> None:
        if name not in ("u1", "uint8", b"u1", "|u1"):
            raise pickle.UnpicklingError(f"an array of type {name!r}")

    def __setstate__(self, state: object) -> None:
        """Take the byte order, which bytes have none of."""


def _start_array(kind: object, shape: object, code: object) -> _ArrayShell:
    return _ArrayShell()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode(encoding)


_HARMLESS = {
    ("numpy", "ndarray"): _ArrayShell,
    ("numpy", "dtype"): _TypeShell,
    ("numpy.core.multiarray", "_reconstruct"): _start_array,
    ("numpy._core.multiarray", "_reconstruct"): _start_array,
    ("_codecs", "encode"): _encode,
}


class _ArraysOnly(pickle._Unpickler):
    """Knows arrays of bytes, lists, dictionaries and text, and nothing else.

    Of the two unpicklers this is the one written in Python: the other one takes 16 bytes for every
    number below the largest that a file gives to one of its objects, which may be all memory.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, or refuse."""
        try:
            return _HARMLESS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"a call of {module}.{name}") from None


def read_class_names(name: str, folder: Path) -> tuple[str, ...]:
    """Return the class names that the data set's own file has.

    Raises:
        InputError: If it is missing, damaged, or not what it should be.
    """
    file, entry = _NAMES[name]
    names = _load(folder / file).get(entry)
    if not isinstance(names, list) or not all(isinstance(text, str) for text in names):
        raise _unexpected(folder / file, f"no list {entry!r}")
    return tuple(names)


def read_batch(name: str, path: Path) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    """Yield the images, uint8 of shape ``(32, 32, 3)``, and class indices of one file.

    Raises:
        InputError: If it is missing, damaged, or not what it should be.
    """
    batch = _load(path)
    pixels, labels = batch.get("data"), batch.get(_LABELS[name])
    if not isinstance(pixels, _ArrayShell) or not isinstance(labels, list):
        raise _unexpected(path, f"no 'data' or no {_LABELS[name]!r}")
    if pixels.shape != (len(labels), _NUMBERS) or len(pixels.data) != len(labels) * _NUMBERS:
        raise _unexpected(path, f"'data' of shape {pixels.shape} and {len(labels)} labels")
    images = np.frombuffer(pixels.data, dtype=np.uint8).reshape(-1, 3, _EDGE, _EDGE)
    for image, label in zip(images, labels, strict=True):
        yield image.transpose(1, 2, 0), int(label)


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _unexpected(path, f"{path.stat().st_size:,} bytes")
        # From memory: a file object would make room for as many bytes as the pickle claims.
        found = _ArraysOnly(BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError as error:
        raise unreadable(path, error) from error
    # A damaged pickle makes the unpickler fail in a great many ways.
    except Exception as error:
        raise _unexpected(path, str(error) or type(error).__name__) from error
    if not isinstance(found, dict):
        raise _unexpected(path, type(found).__name__)
    return {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in found.items()}


def _unexpected(path: Path, found: str) -> InputError:
    return InputError(
        f"{path} is no file of CIFAR: found {found}. Expected arrays of bytes, lists and text; "
        "anything else in a pickle could run code and is not loaded. Download the data set again."
    )
