"""The arrays of an ``.npz`` file: read row by row, paired by their names, laid out as images.

``ArrayFile`` reads rows without loading an array whole, and unpickles nothing. ``find_pairs``
finds inputs and labels by name; ``find_pixel_layout`` decides which rows are images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from relabel.archives import DAMAGED, check_size, open_zip
from relabel.features.image import MAX_PIXELS
from relabel.files import is_of_content
from relabel.importers.accepted_options import without_effect
from relabel.importers.columns.column_names import TEST_WORDS, TRAIN_WORDS, TRUTH_NAMES
from relabel.importers.files.encoding import unreadable
from relabel.importers.options import ImportOptions
from relabel.text import Split
from tracin_core.errors import InputError
from tracin_core.files import HEADER_ERRORS

_CHUNK = 8 * 2**20  # bytes read at a time
# What the readers of zip and of arrays answer damaged or encrypted files with.
_DAMAGED = (*DAMAGED, KeyError)
MAX_WHOLE = 2**28  # bytes of an array that is read as a whole: labels; and of one row
_LONGEST_HEADER = 2**20  # bytes
_INPUTS = ("x", "images", "image", "data", "features", "inputs", "imgs")
_LABELS = ("y", "labels", "label", "target", "targets", "classes")
CLASS_NAMES = ("class_names", "target_names", "label_names", "classes", "names")
_CHANNELS = (1, 3, 4)
_MAX_EDGE = 20_000  # pixels
_FLAT = 64  # numbers of the smallest pictures that people have, 8 x 8
Pixels = npt.NDArray[Any]


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
        with _translate_errors(path), open_zip(path) as archive:
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
        with _translate_errors(self.path), np.load(self.path, allow_pickle=False) as arrays:
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
            _translate_errors(self.path),
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
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and not is_of_content(error):
            raise unreadable(path, error) from error
        raise InputError(
            f"{path} cannot be read as an .npz file of arrays ({error}). Expected one that "
            "np.savez or np.savez_compressed wrote. Save it again."
        ) from error


@dataclass(frozen=True)
class ArrayPair:
    """Inputs and what is to be predicted of them.

    Attributes:
        inputs, answers: Names of the arrays.
        split: None where the file has no split.
    """

    inputs: str
    answers: str
    split: Split | None


def find_pairs(headers: Mapping[str, ArrayHeader], options: ImportOptions) -> list[ArrayPair]:
    """Find the arrays that belong together.

    Raises:
        InputError: If that cannot be told, or their lengths differ.
    """
    answers = options.label or options.target
    if options.features is not None and len(options.features) > 1:
        raise without_effect(
            ("features",),
            "the columns of an array have no names, so several cannot be chosen",
            "Name the array with the rows alone, and save it without the columns that are no "
            "input.",
        )
    if options.image or (options.features and len(options.features) == 1):
        inputs = options.image or (options.features or ("",))[0]
        pairs = _named_pairs(headers, inputs, answers)
    else:
        pairs = _guess_pairs(headers, answers)
    for pair in pairs:
        _check_lengths(headers[pair.inputs], headers[pair.answers])
    return pairs


def _named_pairs(
    headers: Mapping[str, ArrayHeader], inputs: str, answers: str | None
) -> list[ArrayPair]:
    if answers is None:
        raise _cannot_tell(headers, "The labels' array was not named.")
    for name in (inputs, answers):
        if name not in headers:
            raise _cannot_tell(headers, f"There is no array {name!r}.")
    return [ArrayPair(inputs, answers, None)]


def _guess_pairs(headers: Mapping[str, ArrayHeader], answers: str | None) -> list[ArrayPair]:
    pairs: list[ArrayPair] = []
    split_inputs = _by_role(headers, _INPUTS)
    split_answers = _by_role(headers, _LABELS)
    if answers is not None:
        split_answers = _named_answers(headers, answers, split_inputs, split_answers)
    for word, inputs in split_inputs.items():
        labels = split_answers.get(word) or _find_labels(headers, inputs, word)
        if labels is not None:
            split: Split | None = None
            if word is not None:
                split = "train" if word in TRAIN_WORDS else "test"
            pairs.append(ArrayPair(inputs, labels, split))
        elif word in TRAIN_WORDS and len(split_inputs) > 1:
            raise _cannot_tell(headers, f"The array {inputs!r} has no array of labels.")
    # A file with x_train and x as well means its split.
    if any(pair.split for pair in pairs):
        pairs = [pair for pair in pairs if pair.split]
    if not pairs:
        raise _cannot_tell(headers, "No pair of inputs and labels is recognised by name.")
    return sorted(pairs, key=lambda pair: pair.split != "train")


def _named_answers(
    headers: Mapping[str, ArrayHeader],
    answers: str,
    split_inputs: Mapping[str | None, str],
    guessed: dict[str | None, str],
) -> dict[str | None, str]:
    """Return the arrays of labels where one was named: alone, of one part, or by what parts share.

    Raises:
        InputError: If there is none.
    """
    words = [word for word in split_inputs if word is not None]
    if answers not in headers:
        shared: dict[str | None, str] = {
            word: name
            for word in words
            for name in (f"{answers}_{word}", f"{word}_{answers}")
            if name in headers
        }
        if not shared:
            raise _cannot_tell(headers, f"There is no array {answers!r}.")
        return shared
    own = (_split_word(answers) or "").lower()
    if own not in words:
        return {None: answers}
    # The other parts have what is called alike, else what is called like labels.
    alike = {w: n for w in words if (n := answers.replace(own, w)) in headers}
    return guessed | alike | {own: answers}


def _find_labels(headers: Mapping[str, ArrayHeader], inputs: str, word: str | None) -> str | None:
    """Return the only array that may be labels of a part under a longer name: "y_train_noisy".

    Raises:
        InputError: If there are several.
    """
    if word is None:
        return None
    found = [
        name
        for name, header in headers.items()
        if {word} < set(words := name.lower().split("_")) and set(words) & set(_LABELS)
        if not _is_truth(name) and header.shape[:1] == headers[inputs].shape[:1]
    ]
    if len(found) > 1:
        raise _cannot_tell(
            headers, f"The array {inputs!r} has several arrays of labels: {', '.join(found)}."
        )
    return found[0] if found else None


def _is_truth(name: str) -> bool:
    return _without_split(name).lower() in (*TRUTH_NAMES, "y_true", "clean_y", "y_clean")


def _by_role(headers: Mapping[str, ArrayHeader], roles: tuple[str, ...]) -> dict[str | None, str]:
    """Return the arrays of a role by their word for the split: x_train, train_x, X, images."""
    found: dict[str | None, str] = {}
    for role in roles:
        for name, header in headers.items():
            words = name.lower().split("_")
            if role not in words or not header.shape:
                continue
            rest = [word for word in words if word != role]
            if not rest:
                found.setdefault(None, name)
            elif len(rest) == 1 and rest[0] in (*TRAIN_WORDS, *TEST_WORDS):
                found.setdefault(rest[0], name)
    return found


def find_beside(
    headers: Mapping[str, ArrayHeader], pairs: Sequence[ArrayPair], role: str, name: str
) -> dict[str, str]:
    """Find the arrays that say something more of the examples, such as what is truly right.

    Args:
        headers: Of all arrays.
        pairs: Of inputs and what is to be predicted.
        role: What they say, for messages.
        name: As the person gave it: "truth" also means truth_train and truth_test.

    Returns:
        The array for each array of inputs; those without one are left out.

    Raises:
        InputError: If there is none, or one has another length than the inputs.
    """
    found = {}
    for pair in pairs:
        word = _split_word(pair.inputs)
        names = [name] if _split_word(name) == word else []
        names += [f"{name}_{word}", f"{word}_{name}"] if word else []
        if len(pairs) == 1:
            names.append(name)
        one = next((one for one in names if one in headers), None)
        if one is not None:
            found[pair.inputs] = one
    if not found:
        words = [word for pair in pairs if (word := _split_word(pair.inputs))]
        expected = " and ".join(f"{name}_{word}" for word in words) or repr(name)
        raise _cannot_tell(
            headers, f"There is no array {expected}, named as the {role} with --{role} {name}."
        )
    for inputs, one in found.items():
        header = headers[one]
        if header.shape[:1] != headers[inputs].shape[:1] or math.prod(header.shape[1:]) != 1:
            raise InputError(
                f"The array {header}, named as the {role}, does not belong to {headers[inputs]}: "
                "expected one value for each example. Save it again, or name another one."
            )
        if header.dtype.kind not in "iufUb":
            raise InputError(
                f"The array {header}, named as the {role}, holds neither numbers nor words. Save "
                "array.astype(str)."
            )
    return found


def note_others(names: Collection[str]) -> list[str]:
    """Report the arrays that are left out; those called like the truth have a use."""
    truths = sorted(filter(_is_truth, names))
    notes = []
    if truths:
        name = truths[0] if _split_word(truths[0]) is None else _without_split(truths[0])
        notes.append(
            f"Array {', '.join(truths)} is called like the truth; --truth {name} uses it for "
            "evaluation, and for nothing else."
        )
    others = sorted(set(names) - set(truths))
    if others:
        notes.append(f"Left out: {', '.join(others)}. --image and --label name others.")
    return notes


def _split_word(name: str) -> str | None:
    """Return the word for the split in the name of an array, as it stands there."""
    words = [word for word in name.split("_") if word.lower() in (*TRAIN_WORDS, *TEST_WORDS)]
    return words[0] if words else None


def _without_split(name: str) -> str:
    word = _split_word(name)
    return "_".join(one for one in name.split("_") if one != word)


def _check_lengths(inputs: ArrayHeader, answers: ArrayHeader) -> None:
    if not inputs.shape or not answers.shape or inputs.shape[0] != answers.shape[0]:
        raise InputError(
            f"The arrays {inputs} and {answers} do not belong together: their first sizes differ. "
            "Expected one label for each input. Name others with --image and --label."
        )


def _cannot_tell(headers: Mapping[str, ArrayHeader], found: str) -> InputError:
    arrays = ", ".join(str(header) for header in headers.values()) or "none"
    return InputError(
        f"{found} The arrays are: {arrays}. Expected x_train, y_train, x_test, y_test; or x, y; "
        "X, y; images, labels; data, target. Name others with --image (or --features) and "
        "--label (or --target)."
    )


def find_pixel_layout(
    header: ArrayHeader, way_out: Callable[[], str]
) -> Callable[[Pixels], Pixels]:
    """Return what makes a picture, ``(H, W)`` or ``(H, W, C)``, of one row of an array.

    Args:
        header: Of the array.
        way_out: Says how an array of another type becomes one of bytes.

    Raises:
        InputError: If the array's shape or type is not one of images.
    """
    sizes = header.shape[1:]
    to_samples = _find_samples(header, way_out)
    if max(sizes) > _MAX_EDGE or 0 in sizes:
        raise InputError(
            f"The array {header} has images of {' x '.join(map(str, sizes))}. Expected 1 to "
            f"{_MAX_EDGE:,} pixels a side."
        )
    if math.prod(sizes) > MAX_PIXELS * max(_CHANNELS):
        raise InputError(
            f"The array {header} has images of {math.prod(sizes):,} numbers. Expected at most "
            f"{MAX_PIXELS / 1e6:.0f} million pixels. Save smaller ones."
        )
    if len(sizes) == 2:
        return to_samples
    if len(sizes) == 3 and sizes[2] in _CHANNELS:
        return lambda row: _drop_single(to_samples(row))
    if len(sizes) == 3 and sizes[0] in _CHANNELS:
        return lambda row: _drop_single(to_samples(row).transpose(1, 2, 0))
    raise InputError(
        f"The array {header} is not one of images. Expected (N, H, W), (N, H, W, C) or "
        "(N, C, H, W) with 1, 3 or 4 channels; or (N, columns) for rows of numbers."
    )


def _find_samples(header: ArrayHeader, way_out: Callable[[], str]) -> Callable[[Pixels], Pixels]:
    if header.dtype == np.uint8:
        return lambda row: row
    if header.dtype == np.bool_:
        return lambda row: row.astype(np.uint8) * 255
    if header.dtype.kind == "u" and header.dtype.itemsize == 2 and is_grey(header):
        return lambda row: row.astype(np.uint16)
    raise InputError(
        f"The array {header} is of a type that has no agreed black and white. Expected uint8 (0 "
        f"to 255), uint16 for grey, or bool. {way_out()}"
    )


def is_grey(header: ArrayHeader) -> bool:
    """Return whether an array's pictures have one channel."""
    sizes = header.shape[1:]
    return len(sizes) == 2 or (len(sizes) == 3 and 1 in (sizes[0], sizes[2]))


def _drop_single(pixels: Pixels) -> Pixels:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def find_range(file: ArrayFile, names: list[str]) -> tuple[float, float]:
    """Return the least and the greatest number in some arrays; NaN and infinity aside."""
    low, high = float("inf"), float("-inf")
    for name in names:
        for chunk in file.chunks(name):
            finite = chunk[np.isfinite(chunk)] if chunk.dtype.kind == "f" else chunk
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def describe_way_out(file: ArrayFile, names: list[str]) -> str:
    """Return how an array of another type becomes one of bytes, by the numbers in it."""
    low, high = find_range(file, names)
    found = f"Its numbers go from {low:.6g} to {high:.6g}"
    if low >= 0 and high <= 1:
        return f"{found}: save (array * 255).round().astype('uint8')."
    if low >= -1 and high <= 1:
        return f"{found}: save ((array + 1) * 127.5).round().astype('uint8')."
    if low >= 0 and high <= 255:
        return (
            f"{found}: if 255 is white, save array.round().astype('uint8'); if {high:.6g} is, "
            f"(array * {255 / (high or 1):.6g}).round().astype('uint8')."
        )
    return (
        f"{found}, which are perhaps normalised: undo that first, or save "
        f"((array - {low:.6g}) * {255 / (high - low):.6g}).round().astype('uint8') to have them "
        "stretched from black to white."
    )


def note_shape(header: ArrayHeader) -> list[str]:
    """Describe how the sizes of an array are read where they could mean something else."""
    sizes = header.shape[1:]
    if len(sizes) == 1:
        return _note_flat(header)
    notes = []
    if len(sizes) == 3 and sizes[0] in _CHANNELS and sizes[2] in _CHANNELS:
        notes.append(
            f"The sizes {sizes} may be read from both sides: the last is taken as the channels. If "
            "the first is, save array.transpose(0, 2, 3, 1)."
        )
    channels = sizes[2] if len(sizes) == 3 and sizes[2] in _CHANNELS else sizes[0]
    if len(sizes) == 3 and channels == 4:
        notes.append(
            "Of 4 channels the last is taken as transparency, and shown over white. If it is "
            "another one, such as infrared, save the first three alone."
        )
    return notes


def _note_flat(header: ArrayHeader) -> list[str]:
    """Report rows of many small whole numbers, which may be pictures that lie flat."""
    length = header.shape[1]
    if header.dtype.kind not in "ub" or header.dtype.itemsize > 2 or length < _FLAT:
        return []
    for channels in (1, 3):
        edge = math.isqrt(length // channels)
        if channels * edge * edge == length:
            shape = f"{edge}, {edge}" + (f", {channels}" if channels > 1 else "")
            return [
                f"Rows of {length} small whole numbers are taken as columns of a table. If they "
                f"are pictures, save array.reshape(-1, {shape})."
            ]
    return []
