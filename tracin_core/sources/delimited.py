"""CSV and TSV: which delimiter, and rows with their numbers, whatever is wrong with some."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import Row, Schema, check_column_names, row_problem
from tracin_core.sources.text_encoding import find_encoding, read_lines

MAX_FIELD = 2_000_000  # characters; what is longer is a quote that was never closed
_DELIMITERS = ",\t;|"
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
_SNIFFED_ROWS = 50


class DelimitedReader:
    """Rows of a CSV or TSV file, gzip or not."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path = path
        self.folder = path.parent
        found = None if options.encoding else find_encoding(path)
        self._encoding = options.encoding or (found.name if found else "utf-8")
        self._delimiter = options.delimiter or self._find_delimiter()
        header = next(self._parse(), (0, None))[1]
        names = _name_columns(header or [], path)
        notes = [found.note] if found and found.note else []
        if options.delimiter is None:
            name = _NAMES[self._delimiter]
            notes.append(f"Fields are separated by: {name}. --delimiter says otherwise.")
        self.schema = Schema(columns=names, notes=tuple(notes))

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows; one with too few or too many fields is a problem."""
        width = len(self.schema.columns)
        places = [self.schema.columns.index(name) for name in columns]
        for number, fields in islice(self._parse(), 1, None):
            if isinstance(fields, Problem):
                yield fields
            elif len(fields) == width:
                yield Row(number, [fields[place] for place in places])
            elif fields:  # an empty line is no row
                yield row_problem(
                    number,
                    f"It has {len(fields)} fields, expected {width} as in the first row. Put "
                    "fields that contain the delimiter or a line break into double quotes.",
                    "wrong number of fields",
                )

    def _find_delimiter(self) -> str:
        """Choose the delimiter by which the first rows have the same number of fields."""
        best, best_score = ",", 0.0
        for delimiter in _DELIMITERS:
            self._delimiter = delimiter
            widths = [
                len(fields)
                for _, fields in islice(self._parse(), _SNIFFED_ROWS)
                if fields and not isinstance(fields, Problem)
            ]
            width, agreeing = Counter(widths).most_common(1)[0] if widths else (1, 0)
            # As many rows as possible must agree; of equals, the one that finds more columns.
            score = 0.0 if width < 2 else agreeing / len(widths) + width / 1e6
            if score > best_score:
                best, best_score = delimiter, score
        return best

    def _parse(self) -> Iterator[tuple[int, list[str] | Problem]]:
        """Yield the row's number and its fields, or what is wrong with it."""
        csv.field_size_limit(MAX_FIELD)
        consumed = _Consumed(read_lines(self._path, self._encoding))
        parser = csv.reader(consumed, delimiter=self._delimiter)
        number = 0
        while True:
            number += 1
            consumed.lines.clear()
            try:
                fields = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, _unparsed(number, error)
                continue
            if consumed.ended and self._is_open(consumed.lines):
                yield number, _never_closed(number, len(consumed.lines))
            else:
                yield number, fields

    def _is_open(self, lines: list[str]) -> bool:
        """Tell whether the file ends inside quotes, which the lenient parser does not say."""
        try:
            list(csv.reader(lines, delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            return "unexpected end" in str(error)
        return False


class _Consumed:
    """Lines, remembering those that went into the present row."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.lines: list[str] = []
        self.ended = False

    def __iter__(self) -> _Consumed:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.lines.append(line)
        return line


def _unparsed(number: int, error: csv.Error) -> Problem:
    if "field limit" in str(error):
        return row_problem(
            number,
            f"A field has more than {MAX_FIELD:,} characters. A closing quote may be missing: "
            "quotes inside a quoted field must be doubled.",
            "unclosed quote",
        )
    return row_problem(number, f"It cannot be read: {error}. Export the row again.", "unreadable")


def _never_closed(number: int, num_lines: int) -> Problem:
    return row_problem(
        number,
        f"It opens a double quote that is never closed, so the {num_lines:,} lines from there to "
        "the end cannot be told apart. Close the quote; quotes inside a field must be doubled.",
        "unclosed quote",
    )


def _name_columns(header: list[str] | Problem, path: Path) -> tuple[str, ...]:
    """Return the column names; an empty one, as of an exported index, gets a number.

    Raises:
        InputError: If the first row cannot be one of names.
    """
    if isinstance(header, Problem):
        raise InputError(f"The first row of {path} cannot be read: {header.message}")
    names = [name.strip() or f"column_{place}" for place, name in enumerate(header, 1)]
    if len(names) < 2:
        raise InputError(
            f"{path} has {len(names)} column. Expected at least two: the input and what is to be "
            "predicted. If the columns are separated by an unusual character, name it with "
            "--delimiter."
        )
    if all(_is_number(name) for name in header):
        raise InputError(
            f"The first row of {path} holds only numbers: {', '.join(header[:5])}. Expected the "
            "names of the columns there. Put a row of names before it."
        )
    check_column_names(names, path)
    return tuple(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
