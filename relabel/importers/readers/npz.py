"""Examples out of ``.npz`` files: arrays of images or rows of numbers, with labels or numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from relabel.importers.accepted_options import without_effect
from relabel.importers.base import BaseSource
from relabel.importers.columns.labels import choose_first, looks_like_indices, make_label_reader
from relabel.importers.columns.profiles import name_value
from relabel.importers.columns.roles import choose_split_values
from relabel.importers.columns.values import MAX_NAME, RefusedError, check_text, read_number, show
from relabel.importers.options import ImportOptions
from relabel.importers.readers.arrays import (
    CLASS_NAMES,
    ArrayFile,
    ArrayHeader,
    ArrayPair,
    Pixels,
    describe_way_out,
    find_beside,
    find_pairs,
    find_pixel_layout,
    find_range,
    note_others,
    note_shape,
)
from relabel.importers.readers.table import read_key, read_target
from relabel.importers.records import (
    FULL,
    MAX_COLUMNS,
    Column,
    Fields,
    PixelImage,
    Problem,
    SourceRecord,
    find_white,
)
from relabel.text import Split
from tracin_core.errors import InputError

_DARK = 64  # of 255: pictures whose brightest value is below are nearly black


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
        inputs = [pair.inputs for pair in self._pairs]
        self._to_pixels = (
            find_pixel_layout(first, lambda: describe_way_out(self._file, inputs))
            if self.kind == "image"
            else None
        )
        answers = self._answer_dtype()
        # Labels are whole numbers or words; measures have fractions.
        is_target = options.target is not None or (answers.kind == "f" and options.label is None)
        is_target = is_target and (options.target is not None or self._has_fractions())
        self.task = "regression" if is_target else "classification"
        self.options = options
        self.target = self._pairs[0].answers
        self.columns = () if self.kind == "image" else _name_columns(first)
        self.num_records = sum(self._file.headers[p.inputs].shape[0] for p in self._pairs)
        self._white: int | None = None
        self.notes = (*self._describe(), *note_shape(first), *self._find_white(first, inputs))
        self._find_classes()
        self._beside = {
            role: find_beside(self._file.headers, self._pairs, role, name)
            for role in ("truth", "key", "split")
            if (name := getattr(options, role)) is not None
        }
        self._find_split_values()
        self._find_truth_reader()

    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield one record a row, pair by pair."""
        number = 0
        for pair in self._pairs:
            answers = self._file.read(pair.answers).reshape(-1)
            beside = {
                role: self._file.read(found[pair.inputs]).reshape(-1)
                for role, found in self._beside.items()
                if pair.inputs in found
            }
            for place, row in enumerate(self._file.rows(pair.inputs)):
                where = f"{pair.inputs}[{place}]"
                others = {role: values[place].item() for role, values in beside.items()}
                try:
                    yield self._make_record(number, where, pair, row, answers[place].item(), others)
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
        self,
        number: int,
        where: str,
        pair: ArrayPair,
        row: Pixels,
        value: Any,
        others: Mapping[str, Any],
    ) -> SourceRecord:
        is_target = self.task == "regression"
        pixels = None if self._to_pixels is None else self._to_pixels(row)
        return SourceRecord(
            row=number,
            where=where,
            split=self._find_split(others["split"]) if "split" in others else pair.split,
            image=None if pixels is None else PixelImage(pixels, self._white),
            fields=_read_fields(row, self.columns) if self._to_pixels is None else None,
            label=None if is_target else self._read_label(value),
            value=read_target(value, pair.answers) if is_target else None,
            given_key=read_key(others["key"], self.options.key or "") if "key" in others else None,
            truth=self._read_truth(others["truth"]) if "truth" in others else None,
        )

    def _find_split(self, value: Any) -> Split:
        name = name_value(value)
        split = self._split_words.get(name)
        if split is None:
            raise RefusedError(
                "left out by its split",
                f"Its split is {show(name)}, which is neither for training nor for testing. "
                "--train-values and --test-values say which values are.",
            )
        return split

    def _find_split_values(self) -> None:
        """Find which values of the array of splits are for what."""
        self._split_words: dict[str, Split] = {}
        found = self._beside.get("split")
        named = [n for n in ("train_values", "test_values") if getattr(self.options, n) is not None]
        if found is None:
            if named:
                raise without_effect(
                    named, "no array of splits is named", "Name one with --split, or leave it out."
                )
            return
        if any(pair.split for pair in self._pairs):
            raise without_effect(
                ("split",),
                "the arrays' names say what is for training and what for testing",
                "Leave it out, or name one pair of arrays with --image and --label.",
            )
        values = {name_value(v.item()) for name in found.values() for v in self._distinct(name)}
        notes: list[str] = []
        train, test = choose_split_values(values, self.options, notes)
        self._split_words |= dict.fromkeys(test, "test")
        self._split_words |= dict.fromkeys(train, "train")
        self.options = replace(self.options, train_values=train, test_values=test)
        self.notes = (*self.notes, *notes)

    def _find_truth_reader(self) -> None:
        """Decide how truths are read: as the labels are, or as numbers."""
        found = self._beside.get("truth")
        if found is None:
            return
        for pair in self._pairs:
            if pair.inputs not in found:
                self.notes = (*self.notes, f"Truth: no array for {pair.inputs}; it is not known.")
        if self.task == "regression":
            self._read_truth: Callable[[Any], str | float | None] = _read_truth_value
            return
        labels = [name_value(v.item()) for name in found.values() for v in self._distinct(name)]
        names, first = self.classes, self.options.first_class or 0
        if names is not None and looks_like_indices(labels, names):
            read = make_label_reader(names, first=first, column=self.options.truth or "")
        else:
            read = read_exact
        self._read_truth = lambda value: _or_none(read, value)

    def _find_white(self, first: ArrayHeader, inputs: list[str]) -> list[str]:
        """Find which sample is white, and say where pictures are dark."""
        if self.kind != "image" or first.dtype == np.bool_:
            return []
        high = int(find_range(self._file, inputs)[1])
        if first.dtype.itemsize == 2 and high > 0:
            white = find_white(high)
            self._white = None if white == FULL else white
            return (
                []
                if self._white is None
                else [
                    f"The pictures of 16 bits hold values up to {high:,}: {white:,} is taken as "
                    "white."
                ]
            )
        if high < _DARK:
            return [
                f"The pictures are nearly black: their largest value is {high} of 255. If that is "
                f"white, save (array.astype('float') * {255 / max(high, 1):.6g}).round()"
                ".astype('uint8')."
            ]
        return []

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
                    f"Expected one. {self._describe_several(answers)}"
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

    def _describe_several(self, answers: ArrayHeader) -> str:
        """Return what can be done with several numbers for each example, by what they are."""
        if len(answers.shape) != 2 or answers.dtype.kind not in "iufb":
            return "Save one label for each example."
        rows = self._file.read(answers.name)
        ones = (rows != 0).sum(axis=1)
        if ((rows == 0) | (rows == 1)).all():
            if (ones == 1).all():
                return "For one-hot labels save labels.argmax(axis=1)."
            return (
                f"{int((ones != 1).sum()):,} examples have no class or several, which cannot be "
                "checked as one label. Save one project for each class: labels[:, 0], ..."
            )
        return (
            "If they are shares of classes, labels.argmax(axis=1) keeps the largest alone; if they "
            "are several measures, save one project for each: labels[:, 0], ..."
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
            self.counts_classes = True
            first, note = choose_first(labels, names, self.options.first_class)
            self.notes = (*self.notes, *filter(None, (note,)))
            self.options = replace(self.options, first_class=first)
        self.classes = names
        self._read_label = make_label_reader(names, first=first, column=column)
        if first is None and self._answer_dtype().kind == "U":
            # Words stay as they are written: "1.0" and "1" are two of them.
            self._read_label = partial(read_exact, names=names)

    def _distinct_labels(self) -> Pixels:
        """Return the different labels of all splits, the first thousand."""
        found = [self._distinct(pair.answers) for pair in self._pairs]
        return np.unique(np.concatenate(found))[:1000]

    def _distinct(self, name: str) -> Pixels:
        """Return the different values of an array, the first thousand."""
        return np.unique(self._file.read(name))[:1000]

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
        roles = {n for p in self._pairs for n in (p.inputs, p.answers)}
        for role in ("truth", "key", "split"):
            if (name := getattr(self.options, role)) is not None:
                roles |= set(find_beside(self._file.headers, self._pairs, role, name).values())
        yield from note_others(set(self._file.headers) - roles - set(CLASS_NAMES))


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


def read_exact(value: Any, names: Collection[str] | None = None) -> str:
    """Return a word of an array as the name of a class, as it is written.

    Raises:
        RefusedError: If it is empty, too long, or none of the names.
    """
    label = str(value).strip()
    if not label:
        raise RefusedError("no label", "Its label is empty. Fill it in, or leave the row out.")
    check_text(label, "The label")
    if len(label) > MAX_NAME:
        raise RefusedError("no label", f"Its label has {len(label):,} characters, at most 200.")
    if names is not None and label not in names:
        raise RefusedError(
            "unknown class",
            f"The label {show(label)} is none of the {len(names)} classes that were named. Add "
            "it to --classes, or correct it.",
        )
    return label


def _or_none(read: Callable[[Any], str], value: Any) -> str | None:
    """Return a truth; one that says nothing is no reason to lose the row."""
    try:
        return read(value) or None
    except RefusedError:
        return None


def _read_truth_value(value: Any) -> float | None:
    try:
        return read_number(value)
    except ValueError:
        return None
