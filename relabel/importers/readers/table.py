"""Tables: texts, image files or rows of values, with classes or numbers; and the form of a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from relabel.importers.base import BaseSource
from relabel.importers.columns.gold_labels import find_gold_marks, leave_out_unagreed
from relabel.importers.columns.guesses import explain_repeats, find_pair
from relabel.importers.columns.label_status import check_status
from relabel.importers.columns.labels import (
    NameForm,
    choose_first,
    find_form,
    looks_like_indices,
    make_label_reader,
)
from relabel.importers.columns.profiles import TableProfile, profile_table, read_names
from relabel.importers.columns.roles import SPLIT_UNUSED, find_roles
from relabel.importers.columns.values import (
    MAX_NAME,
    MISSING_NUMBERS,
    RefusedError,
    check_text,
    decode_image,
    holds_image,
    is_missing,
    read_name,
    read_number,
    read_text,
    show,
)
from relabel.importers.files.encoding import open_bytes, unreadable
from relabel.importers.files.images import read_image_file
from relabel.importers.options import ImportOptions
from relabel.importers.records import (
    EncodedImage,
    Fields,
    Problem,
    Row,
    RowReader,
    SourceRecord,
    row_problem,
)
from relabel.text import Split
from tracin_core.errors import InputError
from tracin_core.files import check_ordinary, expand_path

_PLAIN = NameForm()
_JSON = (".json", ".jsonl", ".ndjson")


class TableSource(BaseSource):
    """Examples out of the rows of a table.

    Attributes:
        reader: Of the rows.
        read_label: Returns the class that a cell of the label's column names; there is one in a
            classification alone.
    """

    def __init__(self, reader: RowReader, options: ImportOptions, format: str = "table") -> None:
        """Find out what the columns are.

        Raises:
            InputError: If that cannot be told, or the named columns do not fit.
        """
        profile = profile_table(reader)
        roles = find_roles(reader, profile, options)
        self.format = format
        self.kind = roles.kind
        self.task = roles.task
        self.options = roles.options
        self.target = roles.options.target or roles.options.label or ""
        self.columns = roles.columns
        self.num_records = reader.schema.num_rows
        self.notes = (*reader.schema.notes, *roles.notes)
        self.reader = reader
        self._root = _find_root(reader, options)
        self._kinds = {c.name: c.kind for c in roles.columns if c.role == "feature"}
        self._splits = _split_words(roles.options)
        self._held = {value.casefold() for value in roles.options.status_values or ()}
        texts = roles.options.text_columns
        self._is_pair = len(texts) == 2 and find_pair(texts) is not None
        self._find_classes(profile)
        notes: list[str] = []
        key = roles.options.key
        self._key_form = find_form(reader, profile, key, notes, is_key=True) if key else NameForm()
        self.notes = (*self.notes, *notes)
        self._wanted = self._choose_columns()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the table, in the order of its rows; none where it can have none.

        Several are Parquet files. Those of a saved data set belong to a folder that describes them.
        """
        from relabel.importers.readers.csv import DelimitedReader
        from relabel.importers.readers.json_lines import JsonLinesReader
        from relabel.importers.readers.parquet import ColumnarReader

        if isinstance(self.reader, DelimitedReader | JsonLinesReader):
            return (self.reader.path,)
        if isinstance(self.reader, ColumnarReader) and self.reader.kind != "saved":
            return tuple(path for paths in self.reader.files.values() for path in paths)
        return ()

    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield one record a row."""
        places = {name: place for place, name in enumerate(self._wanted)}
        for row in self.reader.read_rows(self._wanted):
            if isinstance(row, Problem):
                yield row
                continue
            try:
                record = self._make_record(row, places)
                yield record
                if self._is_pair and record.fields is not None:
                    yield from _find_half(record)
            except RefusedError as refused:
                yield row_problem(row.number, str(refused), refused.what)

    def adopt_kinds(self, kinds: Mapping[str, str]) -> None:
        """Read the columns as a project has them: few new rows may look otherwise."""
        self._kinds = {name: kinds.get(name, kind) for name, kind in self._kinds.items()}
        self.columns = tuple(
            replace(column, kind=self._kinds.get(column.name, column.kind))
            for column in self.columns
        )

    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return "row 17" for 17."""
        return {row: f"row {row:,}" for row in rows}

    def explain_repeats(self, pairs: Sequence[tuple[int, int]], total: int) -> tuple[str, ...]:
        """Describe which rows are the same only because a column is left out."""
        return explain_repeats(self.reader, self.columns, pairs, total)

    def _find_classes(self, profile: TableProfile) -> None:
        """Decide how labels are read, by the first of them and by the names that are given."""
        column = self.options.label
        if column is None:
            return
        notes: list[str] = []
        form = find_form(self.reader, profile, column, notes)
        declared = self.reader.schema.class_names.get(column)
        names = self.options.classes or declared
        labels = [read_name(value) for value in profile.columns[column].distinct]
        first = None
        if declared is not None and self.options.classes is None:
            first = 0
        elif names is not None and looks_like_indices(labels, names):
            whole = labels if profile.is_whole else read_names(self.reader, column)
            first, note = choose_first(whole, names, self.options.first_class)
            self.notes = (*self.notes, *filter(None, (note,)))
            self.counts_classes = True
            # Remembered: what comes later may hold neither the first number nor the last.
            self.options = replace(self.options, first_class=first)
        self.classes = names
        # Among numbers NaN is none of them; among names it may be one.
        missing = MISSING_NUMBERS if profile.columns[column].is_number else frozenset()
        self.read_label = make_label_reader(
            names, first=first, column=column, missing=missing, form=form
        )
        if self._is_pair and self.options.classes is None:
            marks = find_gold_marks(labels, declared)
            self.read_label = leave_out_unagreed(self.read_label, marks, labels, column=column)
        truth = self.options.truth
        self.notes = (*self.notes, *notes)
        truth_names = self.reader.schema.class_names.get(truth or "") or names
        truths = [read_name(v) for v in profile.columns[truth].distinct] if truth else []
        truth_by_index = truth_names is not None and looks_like_indices(truths, truth_names)
        self._read_truth = make_label_reader(
            truth_names if truth_by_index else None,
            # Of other names than the labels', as a saved data set has them, or counted alike.
            first=((first if truth_names is names else 0) or 0) if truth_by_index else None,
            column=truth or "",
            # Truths are compared with labels, so they are read alike.
            form=form,
        )

    def _choose_columns(self) -> tuple[str, ...]:
        options = self.options
        single = (
            *(options.image, options.label, options.target),
            *(options.split, options.key, options.truth, options.status),
        )
        several = (*options.text_columns, *(options.features or ()))
        names = dict.fromkeys((*filter(None, single), *several))
        return tuple(names)

    def _make_record(self, row: Row, places: Mapping[str, int]) -> SourceRecord:
        options = self.options
        texts = options.text_columns

        def cell(name: str | None) -> Any:
            return None if name is None else row.values[places[name]]

        if options.status is not None:
            check_status(cell(options.status), options.status, self._held)
        return SourceRecord(
            row=row.number,
            where=f"row {row.number:,}",
            place=row.place or f"{self.reader.name}, row {row.number}",
            split=self._find_split(row.split if options.split is None else cell(options.split)),
            label=self.read_label(cell(options.label)) if options.label else None,
            value=read_target(cell(target), target) if (target := options.target) else None,
            text=read_text([cell(name) for name in texts], texts) if texts else None,
            image=self._read_image(cell(options.image)) if options.image else None,
            fields=self._read_fields(row.values, places)
            if options.features
            else _read_parts([cell(name) for name in texts], texts)
            if len(texts) > 1
            else None,
            given_key=read_key(cell(options.key), options.key, self._key_form)
            if options.key
            else None,
            truth=self._find_truth(cell(options.truth)),
        )

    def _find_split(self, value: Any) -> Split | None:
        if self._splits is None:
            return None
        name = read_name(value)
        split = self._splits.get(name)
        if split is None:
            raise RefusedError(
                SPLIT_UNUSED,
                f"Its split is {show(name)}, which is neither for training nor for testing. "
                "--train-values and --test-values say which values are.",
            )
        return split

    def _find_truth(self, value: Any) -> str | float | None:
        """Return what is truly right; a cell that says nothing is no reason to lose the row."""
        if self.options.truth is None or is_missing(value):
            return None
        try:
            return self._read_truth(value) if self.options.label else read_number(value)
        except (RefusedError, ValueError):
            return None

    def _read_image(self, value: Any) -> EncodedImage:
        if isinstance(value, bytes):
            return EncodedImage(value)
        if isinstance(value, dict):
            if isinstance(value.get("bytes"), bytes):
                return EncodedImage(value["bytes"])
            value = value.get("path")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # a number in JSON, by which files are called
        if not isinstance(value, str) or not value.strip():
            raise RefusedError("missing image", "It names no image. Fill in the path of its file.")
        if holds_image(value):
            return EncodedImage(decode_image(value))
        return read_image_file(self._root, value)

    def _read_fields(self, values: Sequence[Any], places: Mapping[str, int]) -> Fields:
        fields = {
            name: _FIELD_READERS[kind](values[places[name]], name)
            for name, kind in self._kinds.items()
        }
        if all(value is None for value in fields.values()):
            raise RefusedError("empty row", "All its input columns are empty. Fill one in.")
        return fields


def _find_half(record: SourceRecord) -> Iterator[Problem]:
    """Report a pair of texts of which one is empty; it is kept, as its label may hold."""
    empty = [name for name, text in (record.fields or {}).items() if text is None]
    if empty:
        message = (
            f"The text in column {empty[0]!r} is empty, so the example is the other one alone. "
            "Fill it in, or leave the row out."
        )
        yield Problem(record.row, record.where, message, "half a pair", refused=False)


def _read_parts(values: Sequence[Any], columns: Sequence[str]) -> Fields:
    """Return the texts that are joined, each by its column; None where one is empty."""
    return {
        name: None if is_missing(value) else str(value)
        for name, value in zip(columns, values, strict=True)
    }


def read_target(value: Any, column: str) -> float:
    """Return the number to be predicted.

    Raises:
        RefusedError: If it is missing, not a number (NaN) or infinite.
    """
    try:
        number = read_number(value)
    except ValueError as error:
        raise RefusedError(
            "no number",
            f"The target {column!r} is {show(value)}, expected a finite number. "
            "Correct it, or leave the row out.",
        ) from error
    if number is None or math.isnan(number):
        raise RefusedError(
            "no number",
            f"The target {column!r} is missing (empty or NaN). Fill in a number, or leave "
            "the row out.",
        )
    return float(number)


def read_key(value: Any, column: str, form: NameForm = _PLAIN) -> str:
    """Return the name that an example has in its source.

    Raises:
        RefusedError: If it is empty or too long.
    """
    key = form.read(value)
    if not key:
        raise RefusedError(
            "no key", f"The key in column {column!r} is empty. Give each row its own."
        )
    check_text(key, f"The key in column {column!r}")
    if len(key) > MAX_NAME:
        raise RefusedError("no key", f"The key has {len(key):,} characters, expected at most 200.")
    return key


def _read_number_field(value: Any, column: str) -> float | int | None:
    try:
        return read_number(value)
    except ValueError as error:
        raise RefusedError(
            "not a number",
            f"The column {column!r} is one of numbers, but holds {show(value)} there. Correct it, "
            "empty it, or leave the column out with --features.",
        ) from error


def _read_category_field(value: Any, column: str) -> str | None:
    name = read_name(value)
    check_text(name, f"The column {column!r}")
    if len(name) > MAX_NAME:
        raise RefusedError(
            "name too long",
            f"The column {column!r} holds {len(name):,} characters, expected a name of at most "
            f"{MAX_NAME}. Shorten it, or leave the column out with --features.",
        )
    return name or None


_FIELD_READERS: Mapping[str, Callable[[Any, str], float | int | str | None]] = {
    "number": _read_number_field,
    "category": _read_category_field,
    "text": _read_category_field,
    "nothing": _read_category_field,
}


def _find_root(reader: RowReader, options: ImportOptions) -> Path:
    root = expand_path(options.image_root) if options.image_root else reader.folder
    check_ordinary(root, "a folder of images")
    if not root.is_dir():
        raise InputError(
            f"The image folder {root} does not exist. Name the folder that the image paths are "
            "relative to with --image-root."
        )
    return root.resolve()


def _split_words(options: ImportOptions) -> dict[str, Split] | None:
    """Return what each value of the split means; None where there is no split."""
    if options.train_values is None:
        return None
    words: dict[str, Split] = dict.fromkeys(options.test_values or (), "test")
    return words | dict.fromkeys(options.train_values, "train")


def ending_of(path: Path) -> str:
    """Return the ending that names the format: ".csv" of data.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def starts_with(path: Path, start: bytes) -> bool:
    """Return whether a file, unpacked from gzip, starts so, blanks and marks aside.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with open_bytes(path) as file:
            return file.read(512).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start)
    except InputError:
        return False
    except OSError as error:
        raise unreadable(path, error) from error


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, whatever it is called."""
    return starts_with(path, b"PAR1")


def is_json(path: Path) -> bool:
    """Return whether a file called like JSON holds objects, an array, or text in UTF-16."""
    return any(starts_with(path, start) for start in (b"{", b"[", b"\xff\xfe", b"\xfe\xff"))


def find_table_form(path: Path) -> str:
    """Return how a table's file is written: "parquet", "json-lines" or "delimited".

    Raises:
        InputError: If it is a folder, or cannot be read.
    """
    if path.is_dir():
        raise InputError(
            f"{path} is a folder, expected a table: one .csv, .tsv, .parquet or .jsonl file. Name "
            "the file in it."
        )
    if is_parquet(path):
        return "parquet"
    return "json-lines" if ending_of(path) in _JSON or starts_with(path, b"{") else "delimited"


def open_table_rows(path: Path, options: ImportOptions) -> RowReader:
    """Open a table's file to read its rows.

    Raises:
        InputError: If it is no table that can be read.
    """
    from relabel.importers.readers.csv import DelimitedReader
    from relabel.importers.readers.json_lines import JsonLinesReader
    from relabel.importers.readers.parquet import ColumnarReader

    form = find_table_form(path)
    if form == "parquet":
        return ColumnarReader({"": [path]}, path.parent, kind="parquet")
    return (JsonLinesReader if form == "json-lines" else DelimitedReader)(path, options)
