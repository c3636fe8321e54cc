"""A CSV or TSV file given back: one field of some rows is another one, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

from relabel.exporters.csv import FORMULA_STARTS, safe_cell
from relabel.exporters.own.answers import Answers
from relabel.exporters.own.source import refuse
from relabel.exporters.own.text import SameText
from relabel.importers.columns.values import parse_locale_number
from relabel.importers.files.encoding import read_lines
from relabel.importers.readers.csv import (
    DelimitedReader,
    Dialect,
    Fields,
    parse_rows,
    read_number,
)
from relabel.importers.records import Problem

_QUOTED = re.compile(r'(?:[^"]+|"")*"?')
_QUOTED_BACKSLASH = re.compile(r'(?:[^"\\]+|\\.|"")*"?', re.DOTALL)
_END = re.compile(r"(\r\n|\r|\n)?\Z")
Span = tuple[int, int]
RawRow = tuple[int, Fields | None, str]


def write_delimited(
    file: BinaryIO, reader: DelimitedReader, answers: Answers, *, protects: bool
) -> None:
    """Write the file, every row of which that stays is the same bytes.

    Raises:
        InputError: If a row or a character cannot be written.
    """
    header = reader.header
    dialect = header.dialect
    text = SameText(reader.path, reader.encoding, file)
    lines = read_lines(reader.path, reader.encoding)
    for line in islice(lines, header.skipped):
        text.write(line, line)
    place = header.names.index(answers.source.column)
    decimal = header.decimal_marks.get(place, "")
    for number, fields, raw in read_raw_rows(lines, dialect):
        if number <= header.num_before:
            is_names = number == header.num_before
            text.write(raw, _append(raw, list(answers.beside.values()), dialect, is_names))
            continue
        if fields is None or len(fields) != len(header.names):
            # No example: it stays as it is, unless only the reviewed ones are wanted.
            text.write(raw, None if fields != [] and answers.leaves_out(number) else raw)
            continue
        if answers.leaves_out(number):
            text.write(raw, None)
            continue
        row = _Fields(raw, fields, dialect, number)
        new = answers.replace(number, fields[place], decimal=decimal)
        if new is not fields[place]:
            row.change(place, str(new))
        if protects:
            row.protect()
        now = row.finish()
        text.write(raw, _append(now, answers.cells_beside(number), dialect, bool(answers.beside)))
    text.check()


def _append(raw: str, cells: Sequence[Any], dialect: Dialect, wanted: bool) -> str:
    """Return a row with more fields before its end."""
    if not cells or not wanted:
        return raw
    end = _END.search(raw)
    at = len(raw) if end is None else end.start()
    shown = ["" if cell is None else str(safe_cell(cell)) for cell in cells]
    more = "".join(dialect.delimiter + quote(cell, dialect) for cell in shown)
    return raw[:at] + more + raw[at:]


def quote(cell: str, dialect: Dialect, *, always: bool = False) -> str:
    """Return a field as the file writes it, in quotes where it needs them."""
    needs = any(one in cell for one in (dialect.delimiter, '"', "\r", "\n"))
    needs = needs or cell != cell.strip() or (dialect.backslash and "\\" in cell)
    if not needs and not always:
        return cell
    if dialect.backslash:
        cell = cell.replace("\\", "\\\\").replace('"', '\\"')
    else:
        cell = cell.replace('"', '""')
    return f'"{cell}"'


def read_raw_rows(lines: Iterator[str], dialect: Dialect) -> Iterator[RawRow]:
    """Yield each row with its number, its fields (None where they cannot be read) and its text."""
    taken: list[str] = []

    def note() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    block: list[str] = []
    rows: dict[int, Fields | None] = {}
    for number, fields in parse_rows(note(), dialect):
        if taken:
            yield from _share_lines(rows, block)
            block, rows = list(taken), {}
            taken.clear()
        if not isinstance(fields, Problem) or number not in rows:
            rows[number] = None if isinstance(fields, Problem) else fields
    yield from _share_lines(rows, block)
    if taken:
        yield 1 << 62, [], "".join(taken)


def _share_lines(rows: dict[int, Fields | None], block: list[str]) -> Iterator[RawRow]:
    """Yield rows that were read together with the lines that each of them is."""
    if len(rows) == 1:
        (number,) = rows
        yield number, rows[number], "".join(block)
    elif len(rows) == len(block):
        for (number, fields), line in zip(rows.items(), block, strict=True):
            yield number, fields, line
    elif rows:
        raise refuse(f"The {len(rows)} rows from row {min(rows):,} on cannot be told apart.")


def find_spans(raw: str, dialect: Dialect, *, quotes: bool = True) -> list[Span]:
    """Return where each field of a row stands in its text, its quotes included."""
    spans, place = [], 0
    found = _END.search(raw)
    end = len(raw) if found is None else found.start()
    pattern = _QUOTED_BACKSLASH if dialect.backslash else _QUOTED
    while True:
        while dialect.spaced and place < end and raw[place] == " ":
            place += 1
        start = place
        if quotes and place < end and raw[place] == '"':
            quoted = pattern.match(raw, place + 1, end)
            place = end if quoted is None else quoted.end()
        following = raw.find(dialect.delimiter, place, end)
        place = end if following < 0 else following
        spans.append((start, place))
        if following < 0:
            return spans
        place += 1


class _Fields:
    """The text of a row whose fields are changed one by one."""

    def __init__(self, raw: str, fields: Fields, dialect: Dialect, number: int) -> None:
        self._raw, self._fields, self._dialect, self._number = raw, fields, dialect, number
        self._spans: list[Span] | None = None
        self._quotes = True
        self._new: dict[int, str] = {}

    def change(self, place: int, cell: str) -> None:
        """Put another field in the place of one."""
        start, _ = self._find(place)
        always = self._quotes and self._raw[start : start + 1] == '"'
        if not self._quotes and any(one in cell for one in (self._dialect.delimiter, "\r", "\n")):
            raise refuse(
                f"In row {self._number:,} quotes are letters, and {cell!r:.60} needs some."
            )
        self._new[place] = cell if not self._quotes else quote(cell, self._dialect, always=always)

    def protect(self) -> None:
        """Put an apostrophe before every field that a spreadsheet would run; numbers stay."""
        for place, cell in enumerate(self._fields):
            is_number = read_number(cell) is not None or any(
                parse_locale_number(cell, mark) for mark in (",", ".")
            )
            if cell.startswith(FORMULA_STARTS) and not is_number and place not in self._new:
                self.change(place, f"'{cell}")

    def finish(self) -> str:
        """Return the row's text."""
        raw = self._raw
        for place in sorted(self._new, reverse=True):
            start, end = self._find(place)
            raw = raw[:start] + self._new[place] + raw[end:]
        return raw

    def _find(self, place: int) -> Span:
        if self._spans is None:
            for quotes in (True, False):
                spans = find_spans(self._raw, self._dialect, quotes=quotes)
                if self._holds(spans, quotes=quotes):
                    self._spans, self._quotes = spans, quotes
                    break
            else:
                raise refuse(f"The fields of row {self._number:,} cannot be found in its text.")
        return self._spans[place]

    def _holds(self, spans: list[Span], *, quotes: bool) -> bool:
        """Return whether the texts at some places are the fields as they were read."""
        if len(spans) != len(self._fields):
            return False
        texts = [self._raw[start:end] for start, end in spans]
        if not quotes:
            return texts == self._fields
        read = [next(self._dialect.reader(t.splitlines(keepends=True)), [""]) for t in texts]
        return [one[0] if one else "" for one in read] == self._fields
