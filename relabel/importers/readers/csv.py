"""CSV and TSV: the dialect, the header, and the rows with their numbers.

``find_header`` finds from the first lines how fields are separated and quoted, and whether the
first row is a header. ``parse_rows`` goes on whatever is wrong with single rows, and reports it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path

from relabel.importers.columns.values import find_locale_numbers, parse_locale_number, show
from relabel.importers.files.encoding import find_encoding, read_lines
from relabel.importers.options import ImportOptions
from relabel.importers.records import Problem, Row, Schema, check_column_names, row_problem
from relabel.text import counted
from tracin_core.errors import InputError

MAX_FIELD = 2_000_000  # characters; what is longer is a quote that was never closed
# Characters of all lines of a row: a field may have a line break in it, a row of them no end.
MAX_ROW = 32_000_000
_ESCAPED = re.compile(r'\\(["\\])')
_FEW_LINES = 3  # of a field, as an address has them
Fields = list[str]
Rows = Iterator[Fields]
_BLANKS = 4  # so many make a sentence
_ENDS = "Every row ends with a delimiter, which is passed over."
_DELIMITERS = ",\t;|"
_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
_SAMPLED_ROWS = 50
_SAMPLED_LINES = 2000
_SAMPLED_LENGTH = 4_000_000  # characters
# Excel writes and reads a first line that names the delimiter; it is no row.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[;,\t|]*\s*', re.IGNORECASE)


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
    """Describe what is wrong with the quotes of a row, which the lenient parser passes over."""
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


def complete_header(header: Fields, body: Sequence[Fields], notes: list[str]) -> list[str]:
    """Name the columns; an empty name, as of an exported index, gets a number.

    Every row may have one field more than the header: R leaves the name of its first column out,
    and some programs end rows with a delimiter.
    """
    names = [name.strip() or f"column_{place}" for place, name in enumerate(header, 1)]
    longer = [row for row in body if len(row) == len(names) + 1]
    if not body or len(longer) < len(body) or len(names) < 2:
        return names
    if not any(row[-1].strip() for row in longer):
        notes.append(_ENDS)
        return [*names, f"column_{len(names) + 1}"]
    notes.append(
        "The first row has one name fewer than the others have fields. Their first field is taken "
        "for the row's own name, as R writes it, and called 'column_1'."
    )
    return ["column_1", *names]


def has_given_names(first: Fields, names: Sequence[str]) -> bool:
    """Return whether the first row has all the names that were given for the columns."""
    return {name.casefold() for name in names} <= {cell.strip().casefold() for cell in first}


def spell_as_given(first: Fields, names: Sequence[str]) -> list[str]:
    """Return the first row's names, those that were given spelled like that."""
    given = {name.casefold(): name for name in names}
    return [given.get(cell.strip().casefold(), cell) for cell in first]


def fit_given_names(
    names: Sequence[str], rows: Sequence[Fields], path: Path, notes: list[str]
) -> list[str]:
    """Return the names that were given for the columns of a file whose first line is data.

    Raises:
        InputError: If there are more or fewer columns, or only one.
    """
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width == 1:
        check_several(rows[0][:1], rows, path)
    if width == len(names) + 1 and not any(row[-1].strip() for row in rows if len(row) == width):
        notes.append(_ENDS)
        return [*names, f"column_{width}"]
    if width != len(names):
        raise InputError(
            f"Found {counted(len(names), 'name')} for the {counted(width, 'column')} of {path}, "
            f"whose first row is: {_show_some(rows[0])}. Expected a name for each column, in their "
            "order. Correct the names given with --columns."
        )
    return list(names)


def check_header(names: Sequence[str], header: Fields, body: Sequence[Fields], path: Path) -> None:
    """Check that the first row is one of names.

    Raises:
        InputError: If it has a single field, or looks like the rows below it.
    """
    check_several(names, body, path)
    if all(read_number(name) is not None for name in header):
        found = f"holds only numbers: {', '.join(header[:5])}"
    elif _looks_like_data(header, body) or _looks_like_words(header, body):
        found = f"looks like the rows below it: {_show_some(header)}"
    else:
        return
    raise InputError(
        f"The first row of {path} {found}. Expected the names of the columns there. If the file "
        f"has no row of names, name its {len(names)} columns in their order with --columns."
    )


def check_several(names: Sequence[str], body: Sequence[Fields], path: Path) -> None:
    """Check that there are at least two columns.

    Raises:
        InputError: If there is one.
    """
    if len(names) > 1:
        return
    wider = next((len(row) for row in body if len(row) > 1), 0)
    raise InputError(
        f"{path} has 1 column: its first row is {show(names[0])}. Expected at least two: the "
        "input and what is to be predicted. "
        + (
            f"Rows below it have {wider} fields: remove what stands before the row of names."
            if wider
            else "If the columns are separated by an unusual character, name it with --delimiter."
        )
    )


def _show_some(row: Fields) -> str:
    return ", ".join(map(show, row[:5])) + (", …" if len(row) > 5 else "")


def _looks_like_data(header: Fields, body: Sequence[Fields]) -> bool:
    """Return whether the first row is an example rather than names.

    It is one if it has a number over every column of numbers, and those are no series such as
    years or places.
    """
    rows = [row for row in body if len(row) == len(header)]
    numbers = [read_number(name) for name in header]
    inside = of_numbers = 0
    for place, number in enumerate(numbers):
        found = [value for row in rows if (value := read_number(row[place])) is not None]
        if not rows or len(found) < 0.9 * len(rows):
            continue
        if number is None:
            return False
        of_numbers += 1
        inside += min(found) <= number <= max(found)
    known = [number for number in numbers if number is not None]
    return of_numbers > 0 and 2 * inside >= of_numbers and not _is_series(known, header)


def _is_series(numbers: Sequence[float], header: Fields) -> bool:
    """Return whether numbers in the first row are names: years, or places from 0 or 1 on."""
    steps = [after - before for before, after in pairwise(numbers)]
    if len(numbers) == 1:  # a label, unless something else in the row is a sentence
        return numbers[0] == 0 and all(name.count(" ") < _BLANKS for name in header)
    return all(step == 1 for step in steps) or (len(steps) > 1 and min(steps) > 0)


def _looks_like_words(header: Fields, body: Sequence[Fields]) -> bool:
    """Return whether the first row has a sentence over sentences, and a label that comes again."""
    rows = [row for row in body if len(row) == len(header) and row != header]
    columns = list(zip(header, zip(*rows, strict=True), strict=True)) if rows else []
    has_sentence = any(
        name.count(" ") >= _BLANKS and 2 * sum(c.count(" ") >= _BLANKS for c in cells) > len(cells)
        for name, cells in columns
    )
    has_label = any(
        name.strip() and name in cells and 2 <= len(set(cells)) <= len(cells) // 2
        for name, cells in columns
    )
    return has_sentence and has_label


def read_number(text: str) -> float | None:
    """Return the number that a name is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Header:
    """What stands before the rows.

    Attributes:
        dialect: How the fields are separated.
        names: Of the columns.
        skipped: Lines before the rows, which are none.
        num_before: Rows before the first example: the row of names and empty ones above it.
        decimal_marks: What stands before the fraction in columns of numbers that have to be read as
            people write them, by the column's place.
        notes: What a person should know about it.
    """

    dialect: Dialect
    names: tuple[str, ...]
    skipped: int
    num_before: int
    decimal_marks: Mapping[int, str]
    notes: tuple[str, ...]


def find_header(
    lines: Iterator[str],
    path: Path,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
) -> Header:
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
    num_before, names, body = _find_column_names(parsed, path, columns, notes)
    check_column_names(names, path)
    decimal_marks = _find_locale_numbers(names, body, dialect.delimiter, notes)
    return Header(dialect, tuple(names), skipped, num_before, decimal_marks, tuple(notes))


def _find_column_names(
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
        if rows and rows[0] and not has_given_names(rows[0], columns):
            names = fit_given_names(columns, rows, path, notes)
            notes.append("The columns are named by hand: the first line is data, and is row 1.")
            return 0, names, rows
    if not header or isinstance(header, Problem):
        raise InputError(
            f"The first row of {path} cannot be read: "
            + (header.message if isinstance(header, Problem) else "it is empty.")
        )
    if columns is not None:
        notes.append("The first line holds the given names of the columns itself, and is no data.")
        return first + 1, complete_header(spell_as_given(header, columns), below, notes), below
    names = complete_header(header, below, notes)
    check_header(names, header, below, path)
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


def _find_locale_numbers(
    names: Sequence[str], body: Sequence[Fields], delimiter: str, notes: list[str]
) -> dict[int, str]:
    rows = [row for row in body if len(row) == len(names)]
    decimal_marks = find_locale_numbers(
        [[row[place] for row in rows] for place in range(len(names))], delimiter
    )
    for place, decimal in decimal_marks.items():
        cells = [row[place] for row in rows if parse_locale_number(row[place], decimal)]
        cell = max(cells, key=len)
        notes.append(
            f"Numbers in column {names[place]!r} are read as they are written there: {show(cell)} "
            f"is {parse_locale_number(cell, decimal)}."
        )
    return decimal_marks


class DelimitedReader:
    """Rows of a CSV or TSV file, gzip or not.

    Attributes:
        path: Of the file.
        encoding: Of its text.
        header: What stands before its rows, and how they are written.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        self.name, self.folder = path.name, path.parent
        found = None if options.encoding else find_encoding(path)
        self.encoding = options.encoding or (found.name if found else "utf-8")
        notes = (found.note,) if found and found.note else ()
        lines = read_lines(path, self.encoding)
        self.header = find_header(lines, path, options.delimiter, options.columns)
        self.schema = Schema(columns=self.header.names, notes=(*notes, *self.header.notes))

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows; one with too few or too many fields is a problem."""
        width, names = len(self.schema.columns), list(self.schema.columns)
        places = [self.schema.columns.index(name) for name in columns]
        lines = islice(read_lines(self.path, self.encoding), self.header.skipped, None)
        rows = parse_rows(lines, self.header.dialect)
        for number, fields in islice(rows, self.header.num_before, None):
            if isinstance(fields, Problem):
                yield fields
            elif fields[:1] == names[:1] and [field.strip() for field in fields] == names:
                yield row_problem(
                    number,
                    "It holds the names of the columns again, as where several files were written "
                    "one after the other. It is no example; take it out of the file.",
                    "row of names again",
                )
            elif len(fields) == width:
                for place, decimal in self.header.decimal_marks.items():
                    fields[place] = parse_locale_number(fields[place], decimal) or fields[place]
                yield Row(number, [fields[place] for place in places])
            elif fields:  # an empty line is no row
                yield row_problem(
                    number,
                    f"It has {counted(len(fields), 'field')}, expected {width} as there are "
                    "columns. Put "
                    "fields that contain the delimiter or a line break into double quotes.",
                    "wrong number of fields",
                )
