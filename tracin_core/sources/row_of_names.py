"""The row of names of a CSV or TSV file: whether it is one, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tracin_core.errors import InputError
from tracin_core.numerals import counted
from tracin_core.sources.csv_rows import Fields
from tracin_core.sources.values import show

_BLANKS = 4  # so many make a sentence
_ENDS = "Every row ends with a delimiter, which is passed over."


def complete_names(header: Fields, body: Sequence[Fields], notes: list[str]) -> list[str]:
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


def holds_names(first: Fields, names: Sequence[str]) -> bool:
    """Tell whether the first row has all the names that were given for the columns."""
    return {name.casefold() for name in names} <= {cell.strip().casefold() for cell in first}


def spell_as_given(first: Fields, names: Sequence[str]) -> list[str]:
    """Return the first row's names, those that were given spelled like that."""
    given = {name.casefold(): name for name in names}
    return [given.get(cell.strip().casefold(), cell) for cell in first]


def fit_names(
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


def check_names(names: Sequence[str], header: Fields, body: Sequence[Fields], path: Path) -> None:
    """See that the first row is one of names.

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
    """See that there are at least two columns.

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
    """Tell whether the first row is an example rather than names.

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
    """Tell whether numbers in the first row are names: years, or places from 0 or 1 on."""
    steps = [after - before for before, after in pairwise(numbers)]
    if len(numbers) == 1:  # a label, unless something else in the row is a sentence
        return numbers[0] == 0 and all(name.count(" ") < _BLANKS for name in header)
    return all(step == 1 for step in steps) or (len(steps) > 1 and min(steps) > 0)


def _looks_like_words(header: Fields, body: Sequence[Fields]) -> bool:
    """Tell whether the first row has a sentence over sentences, and a label that comes again."""
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
