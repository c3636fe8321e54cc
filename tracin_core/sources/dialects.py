"""Find out from a CSV or TSV file's first lines how it separates its fields and names them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.sources.csv_rows import Dialect, Fields, parse_rows
from tracin_core.sources.records import Problem
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
        skipped: Lines before the row of names.
        written: What stands before the fraction in columns of numbers that have to be read as
            people write them, by the column's place.
        notes: What a person should know about it.
    """

    dialect: Dialect
    names: tuple[str, ...]
    skipped: int
    written: Mapping[int, str]
    notes: tuple[str, ...]


def find_heading(lines: Iterator[str], path: Path, delimiter: str | None) -> Heading:
    """Find the dialect and the names of the columns.

    Args:
        lines: Of the file.
        path: For the messages.
        delimiter: As the person says, if so.

    Raises:
        InputError: If the first row cannot be one of names.
    """
    sample = _take_sample(lines)
    told = _SEPARATOR_LINE.fullmatch(sample[0]) if len(sample) > 1 else None
    skipped = 1 if told else 0
    sample = sample[skipped:]
    dialect = _find_dialect(sample, delimiter or (told[1] if told else None))
    notes = _describe(dialect, is_named=delimiter is not None)
    rows = [fields for fields in _parse_sample(sample, dialect) if fields]
    if not rows or isinstance(rows[0], Problem):
        raise InputError(
            f"The first row of {path} cannot be read: "
            + (rows[0].message if rows and isinstance(rows[0], Problem) else "it is empty.")
        )
    header, body = rows[0], [row for row in rows[1:] if not isinstance(row, Problem)]
    names = _complete(header, body, notes)
    _check_names(names, header, body, path)
    check_column_names(names, path)
    written = _find_written(names, body, dialect.delimiter, notes)
    return Heading(dialect, tuple(names), skipped, written, tuple(notes))


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


def _complete(header: Fields, body: Sequence[Fields], notes: list[str]) -> list[str]:
    """Name the columns; an empty name, as of an exported index, gets a number.

    Every row may have one field more than the header: R leaves the name of its first column out,
    and some programs end rows with a delimiter.
    """
    names = [name.strip() or f"column_{place}" for place, name in enumerate(header, 1)]
    longer = [row for row in body if len(row) == len(names) + 1]
    if not body or len(longer) < len(body) or len(names) < 2:
        return names
    if not any(row[-1].strip() for row in longer):
        notes.append("Every row ends with a delimiter, which is passed over.")
        return [*names, f"column_{len(names) + 1}"]
    notes.append(
        "The first row has one name fewer than the others have fields. Their first field is taken "
        "for the row's own name, as R writes it, and called 'column_1'."
    )
    return ["column_1", *names]


def _check_names(names: Sequence[str], header: Fields, body: Sequence[Fields], path: Path) -> None:
    """See that the first row is one of names.

    Raises:
        InputError: If it has a single field, or looks like the rows below it.
    """
    if len(names) < 2:
        wider = next((len(row) for row in body if len(row) > 1), 0)
        raise InputError(
            f"{path} has 1 column: its first row is {show(names[0])}. Expected at least two: the "
            "input and what is to be predicted. "
            + (
                f"Rows below it have {wider} fields: remove what stands before the row of names."
                if wider
                else "If the columns are separated by an unusual character, name it with "
                "--delimiter."
            )
        )
    if all(_read(name) is not None for name in header):
        found = f"holds only numbers: {', '.join(header[:5])}"
    elif _looks_like_data(header, body):
        found = f"looks like the rows below it: {', '.join(show(name) for name in header[:5])}"
    else:
        return
    raise InputError(
        f"The first row of {path} {found}. Expected the names of the columns there. Put a row of "
        "names before it."
    )


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


def _looks_like_data(header: Fields, body: Sequence[Fields]) -> bool:
    """Tell whether the first row is an example rather than names.

    It is one if it has a number over every column of numbers, and those are no series such as
    years or places.
    """
    rows = [row for row in body if len(row) == len(header)]
    numbers = [_read(name) for name in header]
    inside = of_numbers = 0
    for place, number in enumerate(numbers):
        found = [value for row in rows if (value := _read(row[place])) is not None]
        if not rows or len(found) < 0.9 * len(rows):
            continue
        if number is None:
            return False
        of_numbers += 1
        inside += min(found) <= number <= max(found)
    known = [number for number in numbers if number is not None]
    return of_numbers > 0 and 2 * inside >= of_numbers and not _is_series(known, header)


def _is_series(numbers: Sequence[float], header: Fields) -> bool:
    """Tell whether numbers in the first row are names: years, or places from 0 or 1 on."""
    steps = [after - before for before, after in pairwise(numbers)]
    if len(numbers) == 1:  # a label, unless something else in the row is a sentence
        return numbers[0] == 0 and all(name.count(" ") < 4 for name in header)
    return all(step == 1 for step in steps) or (len(steps) > 1 and min(steps) > 0)


def _read(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
