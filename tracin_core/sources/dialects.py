"""Find out from a CSV or TSV file's first lines how it separates its fields and names them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.sources.csv_rows import Dialect, Fields, parse_rows
from tracin_core.sources.records import Problem
from tracin_core.sources.row_of_names import (
    check_names,
    complete_names,
    fit_names,
    holds_names,
    spell_as_given,
)
from tracin_core.sources.rows import check_column_names
from tracin_core.sources.values import show
from tracin_core.sources.written_numbers import find_written, read_written

_DELIMITERS = ",\t;|"
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
_SAMPLED_ROWS = 50
_SAMPLED_LINES = 2000
_SAMPLED_LENGTH = 4_000_000  # characters
# Excel writes and reads a first line that names the delimiter; it is no row.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[;,\t|]*\s*', re.IGNORECASE)


@dataclass(frozen=True)
class Heading:
    """What stands before the rows.

    Attributes:
        dialect: How the fields are separated.
        names: Of the columns.
        skipped: Lines before the rows, which are none.
        num_before: Rows before the first example: the row of names and empty ones above it.
        written: What stands before the fraction in columns of numbers that have to be read as
            people write them, by the column's place.
        notes: What a person should know about it.
    """

    dialect: Dialect
    names: tuple[str, ...]
    skipped: int
    num_before: int
    written: Mapping[int, str]
    notes: tuple[str, ...]


def find_heading(
    lines: Iterator[str],
    path: Path,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
) -> Heading:
    """Find the dialect and the names of the columns.

    Args:
        lines: Of the file.
        path: For the messages.
        delimiter: As the person says, if so.
        columns: Names of the columns, if the first line is said to be data.

    Raises:
        InputError: If the first row cannot be one of names, or the given names do not fit.
    """
    sample = _take_sample(lines)
    told = _SEPARATOR_LINE.fullmatch(sample[0]) if len(sample) > 1 else None
    skipped = 1 if told else 0
    sample = sample[skipped:]
    dialect = _find_dialect(sample, delimiter or (told[1] if told else None))
    notes = _describe(dialect, is_named=delimiter is not None)
    parsed = _parse_sample(sample, dialect)
    num_before, names, body = _find_names(parsed, path, columns, notes)
    check_column_names(names, path)
    written = _find_written(names, body, dialect.delimiter, notes)
    return Heading(dialect, tuple(names), skipped, num_before, written, tuple(notes))


def _find_names(
    parsed: Sequence[Fields | Problem],
    path: Path,
    columns: Sequence[str] | None,
    notes: list[str],
) -> tuple[int, list[str], list[Fields]]:
    """Return how many rows stand before the first example, the names, and the rows below."""
    first = next((place for place, fields in enumerate(parsed) if fields), 0)
    header = parsed[first] if parsed else []
    below = [row for row in parsed[first + 1 :] if row and not isinstance(row, Problem)]
    if columns is not None:
        rows = below if isinstance(header, Problem) else [header, *below]
        if rows and rows[0] and not holds_names(rows[0], columns):
            names = fit_names(columns, rows, path, notes)
            notes.append("The columns are named by hand: the first line is data, and is row 1.")
            return 0, names, rows
    if not header or isinstance(header, Problem):
        raise InputError(
            f"The first row of {path} cannot be read: "
            + (header.message if isinstance(header, Problem) else "it is empty.")
        )
    if columns is not None:
        notes.append("The first line holds the given names of the columns itself, and is no data.")
        return first + 1, complete_names(spell_as_given(header, columns), below, notes), below
    names = complete_names(header, below, notes)
    check_names(names, header, below, path)
    return first + 1, names, below


def _take_sample(lines: Iterator[str]) -> list[str]:
    sample: list[str] = []
    length = 0
    for line in islice(lines, _SAMPLED_LINES):
        sample.append(line)
        length += len(line)
        if length > _SAMPLED_LENGTH:
            break
    return sample or [""]


def _parse_sample(sample: Sequence[str], dialect: Dialect) -> list[Fields | Problem]:
    return [fields for _, fields in islice(parse_rows(sample, dialect), _SAMPLED_ROWS)]


def _find_dialect(sample: Sequence[str], delimiter: str | None) -> Dialect:
    """Choose the dialect by which the first rows have the same number of fields."""
    text = "".join(sample)
    backslashes = (False, True) if '\\"' in text else (False,)
    best, best_score = Dialect(delimiter or ","), 0.0
    for mark, backslash in product(delimiter or _DELIMITERS, backslashes):
        for spaced in (False, True) if f'{mark} "' in text else (False,):
            dialect = Dialect(mark, backslash, spaced)
            rows = [fields for fields in _parse_sample(sample, dialect) if fields]
            widths = Counter(0 if isinstance(row, Problem) else len(row) for row in rows)
            width, agreeing = widths.most_common(1)[0] if widths else (1, 0)
            # As many rows as possible must agree; of equals, the one that finds more columns.
            score = 0.0 if width < 2 else agreeing / len(rows) + width / 1e6
            if score > best_score:
                best, best_score = dialect, score
    return best


def _describe(dialect: Dialect, *, is_named: bool) -> list[str]:
    notes = []
    if not is_named:
        name = _NAMES.get(dialect.delimiter, repr(dialect.delimiter))
        blank = " and a blank" if dialect.spaced else ""
        notes.append(f"Fields are separated by: {name}{blank}. --delimiter says otherwise.")
    if dialect.backslash:
        notes.append('Quotes inside quoted fields are written with a backslash (\\"), and read so.')
    return notes


def _find_written(
    names: Sequence[str], body: Sequence[Fields], delimiter: str, notes: list[str]
) -> dict[int, str]:
    rows = [row for row in body if len(row) == len(names)]
    written = find_written([[row[place] for row in rows] for place in range(len(names))], delimiter)
    for place, decimal in written.items():
        cells = [row[place] for row in rows if read_written(row[place], decimal)]
        cell = max(cells, key=len)
        notes.append(
            f"Numbers in column {names[place]!r} are read as they are written there: {show(cell)} "
            f"is {read_written(cell, decimal)}."
        )
    return written
