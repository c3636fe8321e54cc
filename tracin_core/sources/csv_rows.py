"""From the lines of a CSV or TSV file to rows with their numbers, whatever is wrong with some."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tracin_core.errors import InputError
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import row_problem
from tracin_core.sources.values import show

MAX_FIELD = 2_000_000  # characters; what is longer is a quote that was never closed
# Characters of all lines of a row: a field may have a line break in it, a row of them no end.
MAX_ROW = 32_000_000
_ESCAPED = re.compile(r'\\(["\\])')
_FEW_LINES = 3  # of a field, as an address has them
Fields = list[str]


@dataclass(frozen=True)
class Dialect:
    r"""How a file separates and quotes its fields.

    Attributes:
        delimiter: Between two fields.
        backslash: Whether a quote inside a quoted field is written \" rather than "".
        spaced: Whether a blank follows each delimiter, also before a quote.
    """

    delimiter: str
    backslash: bool = False
    spaced: bool = False

    def reader(self, lines: Iterable[str], *, strict: bool = False, quoting: int = 0) -> Rows:
        """Return Python's own reader of such lines."""
        plain = map(_double_quotes, lines) if self.backslash else lines
        return csv.reader(
            plain,
            delimiter=self.delimiter,
            skipinitialspace=self.spaced,
            strict=strict,
            quoting=quoting,  # type: ignore[arg-type]
        )


Rows = Iterator[Fields]


def parse_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, Fields | Problem]]:
    """Yield each row's number and its fields, or what is wrong with it."""
    csv.field_size_limit(MAX_FIELD)
    consumed = _Consumed(iter(lines))
    parser = dialect.reader(consumed)
    number = width = 0
    while True:
        number += 1
        consumed.begin_row()
        try:
            fields = next(parser)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, _unparsed(number, error)
            continue
        width = width or len(fields)
        wrong = _find_fault(consumed.lines, dialect) if len(consumed.lines) > 1 else ""
        if consumed.ended and (wrong or _find_fault(consumed.lines, dialect)) == "never closed":
            yield number, _never_closed(number, len(consumed.lines))
        elif wrong == "closed within":
            apart = _read_apart(consumed.lines, dialect)
            if any(len(found) != width for found in apart):
                yield number, _run_together(number, len(consumed.lines))
                continue
            for place, found in enumerate(apart):
                yield number + place, found
            number += len(apart) - 1
        else:
            if len(consumed.lines) > _FEW_LINES:
                yield from _find_swallowed(number, consumed.lines, dialect, width)
            yield number, fields


def _find_swallowed(
    number: int, lines: list[str], dialect: Dialect, width: int
) -> Iterator[tuple[int, Problem]]:
    """Report a row whose quoted field may have swallowed other rows; it is kept as it is."""
    inside = [next(dialect.reader([line], quoting=csv.QUOTE_NONE), []) for line in lines[1:]]
    alike = sum(len(fields) == width for fields in inside)
    if number > 1 and width > 1 and 2 * alike > len(inside):
        yield (
            number,
            Problem(
                number,
                f"row {number:,}",
                f"One of its quoted fields goes over {len(lines):,} lines, {alike:,} of which "
                "would be rows of their own. If a quote opens there by mistake, double or remove "
                "it: these lines are now one example.",
                "lines in one field",
                refused=False,
            ),
        )


def _double_quotes(line: str) -> str:
    r"""Write \" as "", which Python's reader knows, and \\ as one backslash."""
    return _ESCAPED.sub(lambda found: '""' if found[1] == '"' else "\\", line)


def _find_fault(lines: list[str], dialect: Dialect) -> str:
    """Say what is wrong with the quotes of a row, which the lenient parser passes over."""
    try:
        list(dialect.reader(lines, strict=True))
    except csv.Error as error:
        return "never closed" if "unexpected end" in str(error) else "closed within"
    return ""


def _read_apart(lines: list[str], dialect: Dialect) -> list[Fields]:
    """Return each line as a row whose quotes are letters, which is usual between tabs.

    Between commas it would be a guess: a comma of a text could not be told from a delimiter.
    """
    if dialect.delimiter != "\t":
        return [[]]
    return [next(dialect.reader([line], quoting=csv.QUOTE_NONE)) for line in lines]


class _Consumed:
    """Lines, remembering those that went into the present row."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.lines: list[str] = []
        self.ended = False
        self._length = 0

    def __iter__(self) -> _Consumed:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.lines.append(line)
        self._length += len(line)
        if self._length > MAX_ROW:
            raise InputError(
                f"A row goes on over {len(self.lines):,} lines and {self._length:,} characters, "
                f"from {show(self.lines[0])} on. Expected at most {MAX_ROW:,} characters a row. A "
                "closing quote may be missing: quotes inside a quoted field must be doubled."
            )
        return line

    def begin_row(self) -> None:
        """Forget the lines of the row before."""
        self.lines.clear()
        self._length = 0


def _unparsed(number: int, error: csv.Error) -> Problem:
    if "field limit" in str(error):
        return row_problem(
            number,
            f"A field has more than {MAX_FIELD:,} characters. A closing quote may be missing: "
            "quotes inside a quoted field must be doubled. If it is a picture, save it as a file, "
            "and write the file's name there.",
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


def _run_together(number: int, num_lines: int) -> Problem:
    return row_problem(
        number,
        f"It opens a double quote that is closed {num_lines - 1:,} lines further down in the "
        "middle of a field, so these lines cannot be told apart. Close the quote; quotes inside a "
        "field must be doubled.",
        "unclosed quote",
    )
