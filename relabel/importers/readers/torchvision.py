"""torchvision's data sets by name and folder; nothing is downloaded here.

The files of CIFAR-10 and CIFAR-100 are pickles. Unpickling builds objects by calling whatever the
file names; here every name but the three that make an array leads to an error, and those three
lead to plain stand-ins that take bytes and sizes. NumPy's own unpickling is not used either.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.importers.base import BaseSource
from relabel.importers.files.encoding import unreadable
from relabel.importers.options import ImportOptions
from relabel.importers.records import PixelImage, Problem, SourceRecord
from relabel.text import Kind, Split, Task
from tracin_core.errors import InputError

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
_BY_FLAG: dict[Split, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
# These come in three parts, of which the one for validation is not read.
_WITH_VALIDATION = ("Flowers102", "DTD")
_NO_VALIDATION = ("Its part for validation is left out; the training and test parts are read.",)


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


@dataclass(frozen=True)
class KnownSet:
    """How a data set of torchvision is opened.

    Attributes:
        splits: Arguments for each split; a set without splits has "train" only, and is split.
        hint: A path in its folder by which it is recognised.
    """

    splits: Mapping[Split, Mapping[str, Any]]
    hint: str | None = None


def _by_name(test: str = "test", **both: Any) -> dict[Split, dict[str, Any]]:
    return {"train": {"split": "train", **both}, "test": {"split": test, **both}}


def _emnist(part: str) -> dict[Split, dict[str, Any]]:
    return {"train": {"split": part, "train": True}, "test": {"split": part, "train": False}}


# Data sets that are read without unpickling; CIFAR's two have a reader of their own.
SETS: dict[str, KnownSet] = {
    "MNIST": KnownSet(_BY_FLAG, "MNIST/raw"),
    "FashionMNIST": KnownSet(_BY_FLAG, "FashionMNIST/raw"),
    "KMNIST": KnownSet(_BY_FLAG, "KMNIST/raw"),
    **{
        f"EMNIST-{part}": KnownSet(_emnist(part))
        for part in ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")
    },
    "CIFAR10": KnownSet(_BY_FLAG, FOLDERS["CIFAR10"]),
    "CIFAR100": KnownSet(_BY_FLAG, FOLDERS["CIFAR100"]),
    "USPS": KnownSet(_BY_FLAG, "usps.bz2"),
    "SVHN": KnownSet(_by_name(), "train_32x32.mat"),
    "STL10": KnownSet(_by_name(), "stl10_binary"),
    "Flowers102": KnownSet(_by_name(), "flowers-102"),
    "Food101": KnownSet(_by_name(), "food-101"),
    "OxfordIIITPet": KnownSet(
        {"train": {"split": "trainval"}, "test": {"split": "test"}}, "oxford-iiit-pet"
    ),
    "DTD": KnownSet(_by_name(), "dtd"),
    "FGVCAircraft": KnownSet(
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
        "fgvc-aircraft-2013b",
    ),
    "GTSRB": KnownSet(_by_name(), "gtsrb"),
    "EuroSAT": KnownSet({"train": {}}, "eurosat"),
}


def find_dataset(folder: Path) -> str | None:
    """Return the name of the data set that a folder looks like one of."""
    if not folder.is_dir():
        return None
    return next(
        (n for n, known in SETS.items() if known.hint and (folder / known.hint).exists()), None
    )


def is_dataset_path(parts: tuple[str, ...]) -> bool:
    """Return whether a path in an archive is one of those that data sets are recognised by."""
    path = f"/{'/'.join(parts)}/"
    return any(known.hint and f"/{known.hint}/" in path for known in SETS.values())


class TorchvisionSource(BaseSource):
    """Images of a data set that torchvision knows, out of the folder it was downloaded to."""

    format = "torchvision"
    kind: Kind = "image"
    task: Task = "classification"

    def __init__(self, folder: Path, options: ImportOptions) -> None:
        """Find out which data set it is.

        Raises:
            InputError: If that is none that is known, or its files are missing.
        """
        name = options.dataset or find_dataset(folder)
        if name is None or find_known_name(name) is None:
            raise InputError(
                f"{folder} is no folder of a data set that is known"
                + (f" as {name!r}" if name else "")
                + f". Expected one of: {', '.join(SETS)}. Name it with --dataset, and the folder "
                "that torchvision downloaded it to as the path. Other image data is imported as "
                "a folder with one folder a class."
            )
        self._name = find_known_name(name) or name
        self._folder = folder
        self.options = replace(options, dataset=self._name)
        self.classes = options.classes or self._find_names()
        self.notes = (
            f"Data set: {self._name} of torchvision, from {folder}. --dataset says otherwise.",
            *(_NO_VALIDATION if self._name in _WITH_VALIDATION else ()),
        )

    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield the images, those for training first."""
        number = 0
        splits = SETS[self._name].splits
        for split in splits:
            for place, (pixels, label) in enumerate(self._read_split(split)):
                yield SourceRecord(
                    row=number,
                    where=f"{split}[{place}]",
                    image=PixelImage(pixels),
                    label=self._label(label),
                    split=split if len(splits) > 1 else None,
                )
                number += 1

    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return "train[17]"."""
        found: dict[int, str] = {}
        start = 0
        for split in SETS[self._name].splits:
            length = self._length(split)
            found |= {r: f"{split}[{r - start}]" for r in rows if start <= r < start + length}
            start += length
        return found

    def _label(self, label: int) -> str:
        if self.classes is None or not 0 <= label < len(self.classes):
            raise InputError(
                f"Found the class number {label} in {self._name}, which has "
                f"{len(self.classes or ())} classes. Expected names for all: --classes gives them."
            )
        return self.classes[label]

    def _find_names(self) -> tuple[str, ...]:
        if self._name in FOLDERS:
            return read_class_names(self._name, self._cifar_folder())
        dataset = self._open("train")
        names: Sequence[str] = getattr(dataset, "classes", None) or _number_names(dataset)
        return tuple(map(str, names))

    def _read_split(self, split: Split) -> Iterator[tuple[Any, int]]:
        if self._name in FOLDERS:
            for file in FILES[self._name][split]:
                yield from read_batch(self._name, self._cifar_folder() / file)
            return
        dataset = self._open(split)
        with _translate_errors(self._name, self._folder):
            for place in range(len(dataset)):
                found: Any = dataset[place]
                yield np.asarray(found[0]), int(found[1])

    def _length(self, split: Split) -> int:
        if self._name in FOLDERS:
            return sum(1 for _ in self._read_split(split))
        return len(self._open(split))

    def _cifar_folder(self) -> Path:
        own = self._folder / FOLDERS[self._name]
        return own if own.is_dir() else self._folder

    def _open(self, split: Split) -> Any:
        # torchvision loads torch, four seconds of it.
        from torchvision import datasets

        family = getattr(datasets, self._name.split("-")[0])
        with _translate_errors(self._name, self._folder):
            return family(str(self._folder), download=False, **SETS[self._name].splits[split])


def find_known_name(name: str) -> str | None:
    """Return a data set's name as torchvision has it; None where there is none like it."""
    plain = name.lower().replace("-", "").replace("_", "")
    return next((known for known in SETS if known.lower().replace("-", "") == plain), None)


def _number_names(dataset: Any) -> list[str]:
    """Name the classes of a data set that has no names by their numbers."""
    if hasattr(dataset, "_samples"):  # GTSRB: files and labels
        labels = [label for _, label in dataset._samples]
    else:
        labels = next(getattr(dataset, n) for n in ("labels", "targets") if hasattr(dataset, n))
    return [str(number) for number in range(int(max(labels)) + 1)]


@contextmanager
def _translate_errors(name: str, folder: Path) -> Iterator[None]:
    """Turn the ways in which torchvision misses or fails to read files into one message."""
    try:
        yield
    # Damaged files make its readers, and those they call, fail in a great many ways.
    except Exception as error:
        raise InputError(
            f"torchvision cannot read {name} from {folder}: {' '.join(str(error).split())[:300]} "
            f"Expected the folder that torchvision.datasets.{name.split('-')[0]}(folder, "
            "download=True) filled. Name that folder, or download the data set again."
        ) from error
