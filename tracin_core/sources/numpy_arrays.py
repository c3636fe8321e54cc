"""NumPy's ``.npz``: arrays of images, or of rows of numbers, with labels or numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracin_core.errors import InputError
from tracin_core.examples.images import MAX_PIXELS
from tracin_core.sources.array_files import ArrayFile, ArrayHeader
from tracin_core.sources.array_names import CLASS_NAMES, ArrayPair, find_pairs
from tracin_core.sources.base import BaseSource
from tracin_core.sources.labels import choose_first, looks_like_indices, make_label_reader
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.profiles import name_value
from tracin_core.sources.records import Column, Fields, PixelImage, Problem, SourceRecord
from tracin_core.sources.rows import MAX_COLUMNS
from tracin_core.sources.table import read_target
from tracin_core.sources.values import RefusedError

_CHANNELS = (1, 3, 4)
_MAX_EDGE = 20_000  # pixels
Pixels = npt.NDArray[Any]


class ArraySource(BaseSource):
    """Examples out of the rows of arrays."""

    format = "npz"

    def __init__(self, path: Path, options: ImportOptions) -> None:
        """Find out which arrays are what.

        Raises:
            InputError: If that cannot be told, or the arrays are of no kind that is known.
        """
        self._file = ArrayFile(path)
        self._pairs = find_pairs(self._file.headers, options)
        first = self._file.headers[self._pairs[0].inputs]
        self._check_alike(first)
        self.kind = "image" if len(first.shape) > 2 else "table"
        self._to_pixels = find_pixel_layout(first) if self.kind == "image" else None
        answers = self._answer_dtype()
        # Labels are whole numbers or words; measures have fractions.
        is_target = options.target is not None or (answers.kind == "f" and options.label is None)
        is_target = is_target and (options.target is not None or self._has_fractions())
        self.task = "regression" if is_target else "classification"
        self.options = options
        self.target = self._pairs[0].answers
        self.columns = () if self.kind == "image" else _name_columns(first)
        self.num_records = sum(self._file.headers[p.inputs].shape[0] for p in self._pairs)
        self.notes = tuple(self._describe())
        self._find_classes()

    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield one record a row, pair by pair."""
        number = 0
        for pair in self._pairs:
            answers = self._file.read(pair.answers).reshape(-1)
            for place, row in enumerate(self._file.rows(pair.inputs)):
                where = f"{pair.inputs}[{place}]"
                try:
                    yield self._make_record(number, where, pair, row, answers[place])
                except RefusedError as refused:
                    yield Problem(place, where, str(refused), refused.what)
                number += 1

    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return "x_train[17]"."""
        places = {}
        start = 0
        for pair in self._pairs:
            length = self._file.headers[pair.inputs].shape[0]
            for row in rows:
                if start <= row < start + length:
                    places[row] = f"{pair.inputs}[{row - start}]"
            start += length
        return places

    def _make_record(
        self, number: int, where: str, pair: ArrayPair, row: Pixels, answer: Any
    ) -> SourceRecord:
        value = answer.item()
        is_target = self.task == "regression"
        return SourceRecord(
            row=number,
            where=where,
            split=pair.split,
            image=None if self._to_pixels is None else PixelImage(self._to_pixels(row)),
            fields=_read_fields(row, self.columns) if self._to_pixels is None else None,
            label=None if is_target else self._read_label(value),
            value=read_target(value, pair.answers) if is_target else None,
        )

    def _check_alike(self, first: ArrayHeader) -> None:
        for pair in self._pairs:
            header, answers = self._file.headers[pair.inputs], self._file.headers[pair.answers]
            if header.shape[1:] != first.shape[1:] or header.dtype != first.dtype:
                raise InputError(
                    f"The arrays {first} and {header} differ in shape or type. Expected examples "
                    "of one kind. Bring them to one shape and save them again."
                )
            if int(np.prod(answers.shape[1:])) != 1:
                raise InputError(
                    f"The array of labels {answers} has several numbers for each example. "
                    "Expected one. For one-hot labels save labels.argmax(axis=1)."
                )
            if answers.dtype.kind not in "iufUb":
                raise InputError(
                    f"The array of labels is {answers}. Expected whole numbers, names or "
                    "measures. Save labels.astype(str) or numbers."
                )
        if len(first.shape) == 2 and first.dtype.kind not in "iufb":
            raise InputError(
                f"The array {first} holds no numbers. Expected images or rows of numbers. Texts "
                "are imported from a table: CSV, Parquet or JSON lines."
            )
        if first.dtype.hasobject:
            raise InputError(
                f"The array {first} holds Python objects, which could run code when they are read. "
                "Expected numbers. Bring all to one shape and save np.stack(array)."
            )
        if len(first.shape) < 2 or first.shape[1:] == (0,):
            raise InputError(
                f"The array {first} holds one number for each example. Expected images of shape "
                "(N, H, W) or (N, H, W, C), or rows of shape (N, columns)."
            )

    def _answer_dtype(self) -> np.dtype[Any]:
        return self._file.headers[self._pairs[0].answers].dtype

    def _has_fractions(self) -> bool:
        values = self._file.read(self._pairs[0].answers)
        finite = values[np.isfinite(values)]
        return bool((finite != np.round(finite)).any())

    def _find_classes(self) -> None:
        if self.task == "regression":
            return
        column = self._pairs[0].answers
        names = self.options.classes or self._stored_names()
        labels = [name_value(value.item()) for value in self._distinct_labels()]
        first = None
        if names is not None and looks_like_indices(labels, names):
            first, note = choose_first(labels, names, self.options.first_class)
            self.notes = (*self.notes, *filter(None, (note,)))
            self.options = replace(self.options, first_class=first)
        self.classes = names
        self._read_label = make_label_reader(names, first=first, column=column)

    def _distinct_labels(self) -> Pixels:
        """Return the different labels of all splits, the first thousand."""
        found = [np.unique(self._file.read(pair.answers)) for pair in self._pairs]
        return np.unique(np.concatenate(found))[:1000]

    def _stored_names(self) -> tuple[str, ...] | None:
        """Return the class names that some files carry in an array of their own."""
        used = {name for pair in self._pairs for name in (pair.inputs, pair.answers)}
        for name in CLASS_NAMES:
            header = self._file.headers.get(name)
            if header and name not in used and header.dtype.kind == "U" and len(header.shape) == 1:
                return tuple(map(str, self._file.read(name)))
        return None

    def _describe(self) -> Iterator[str]:
        for pair in self._pairs:
            split = f", for {pair.split}ing" if pair.split else ""
            inputs = self._file.headers[pair.inputs]
            yield f"Arrays: {inputs} with {self._file.headers[pair.answers]}{split}."
        others = set(self._file.headers) - {n for p in self._pairs for n in (p.inputs, p.answers)}
        others -= set(CLASS_NAMES)
        if others:
            yield f"Left out: {', '.join(sorted(others))}. --image and --label name others."


def find_pixel_layout(header: ArrayHeader) -> Callable[[Pixels], Pixels]:
    """Return what makes a picture, ``(H, W)`` or ``(H, W, C)``, of one row of an array.

    Raises:
        InputError: If the array's shape or type is not one of images.
    """
    sizes = header.shape[1:]
    to_samples = _find_samples(header)
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


def _find_samples(header: ArrayHeader) -> Callable[[Pixels], Pixels]:
    if header.dtype == np.uint8:
        return lambda row: row
    if header.dtype == np.bool_:
        return lambda row: row.astype(np.uint8) * 255
    if header.dtype.kind == "u" and header.dtype.itemsize == 2 and len(header.shape) == 3:
        return lambda row: row.astype(np.uint16)
    raise InputError(
        f"The array {header} is of a type that has no agreed black and white. Expected uint8 (0 "
        "to 255), uint16 for grey, or bool. For floats from 0 to 1 save "
        "(array * 255).round().astype('uint8'), for numbers from 0 to 255 array.astype('uint8')."
    )


def _drop_single(pixels: Pixels) -> Pixels:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _name_columns(header: ArrayHeader) -> tuple[Column, ...]:
    """Name the columns of rows of numbers, which have no names.

    Raises:
        InputError: If there are too many.
    """
    if header.shape[1] > MAX_COLUMNS:
        raise InputError(
            f"The array {header} has {header.shape[1]:,} columns, expected at most {MAX_COLUMNS:,}."
            " If its rows are images, save array.reshape(len(array), height, width)."
        )
    width = len(str(header.shape[1]))
    names = [f"x{number:0{width}}" for number in range(1, header.shape[1] + 1)]
    return tuple(Column(name, "feature", "number") for name in names)


def _read_fields(row: Pixels, columns: tuple[Column, ...]) -> Fields:
    """Return a row as fields; NaN is a missing value.

    Raises:
        RefusedError: If a value is infinite.
    """
    values = row.tolist()
    fields: Fields = {}
    for column, value in zip(columns, values, strict=True):
        if value in (float("inf"), float("-inf")):
            raise RefusedError(
                "not a number",
                f"The column {column.name} is infinite. Expected numbers, or NaN where one is "
                "missing.",
            )
        fields[column.name] = None if value != value else value
    return fields
