"""Numbers as people and spreadsheets write them: 1.234,50 and $1,234.50 and 12 %."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SIGNS = r"[$€£¥₹]|EUR|USD|GBP|CHF|Fr\."
_AFFIXES = re.compile(rf"^([+-]?)\s*(?:{_SIGNS})\s*|\s*(?:{_SIGNS}|%)$")
_GROUPS = {
    ",": re.compile(
        r"[+-]?([1-9]\d{0,2}(\.\d{3})+|[1-9]\d{0,2}([ \u00a0\u202f']\d{3})+|\d+)(,\d+)?"
    ),
    ".": re.compile(
        r"[+-]?([1-9]\d{0,2}(,\d{3})+|[1-9]\d{0,2}([ \u00a0\u202f']\d{3})+|\d+)(\.\d+)?"
    ),
}
_BETWEEN = {",": ". \u00a0\u202f'", ".": ", \u00a0\u202f'"}
_NEEDED = 0.9  # as of any column of numbers
_MISSING = ("", "-", "?", "na", "n/a", "nan", "null", "none")


def read_written(text: str, decimal: str) -> str | None:
    """Return a number as Python writes it, None where the text is none that is written so.

    Args:
        text: A cell, for instance "1.234,50 €".
        decimal: What stands before the fraction: "," or ".".
    """
    bare = _AFFIXES.sub(r"\1", _AFFIXES.sub(r"\1", text.strip()))
    if not _GROUPS[decimal].fullmatch(bare):
        return None
    for mark in _BETWEEN[decimal]:
        bare = bare.replace(mark, "")
    return bare.replace(",", ".")


def find_written(columns: Sequence[Iterable[str]], delimiter: str) -> dict[int, str]:
    """Find the columns of numbers that Python would not take for such.

    Args:
        columns: The first cells of each column.
        delimiter: Of the file: where it is a comma, fractions are rather written with a point.

    Returns:
        What stands before the fraction, by the column's place.
    """
    filled = [[cell for cell in cells if cell.strip().lower() not in _MISSING] for cells in columns]
    # A file is written one way, unless some column clearly has points and another has commas.
    commas, points = _has_fractions(filled, ",", "."), _has_fractions(filled, ".", ",")
    decimal = "," if delimiter != "," and commas and not points else "."
    found = {}
    for place, cells in enumerate(filled):
        own = "," if delimiter != "," and _has_fractions([cells], ",", ".") else decimal
        read = [read_written(cell, own) for cell in cells]
        enough = sum(number is not None for number in read) >= max(_NEEDED * len(cells), 1)
        changed = any(n not in (None, cell.strip()) for n, cell in zip(read, cells, strict=True))
        if enough and changed and len(set(map(_find_unit, cells)) - {""}) < 2:
            found[place] = own
    return found


def _find_unit(text: str) -> str:
    """Return the currency or per cent of a cell: amounts of two currencies are not alike."""
    return "".join(found.group().strip(" +-") for found in _AFFIXES.finditer(text.strip()))


def _has_fractions(columns: Sequence[Sequence[str]], decimal: str, other: str) -> bool:
    """Tell whether some column is written one way and cannot be written the other way."""
    for cells in columns:
        one = [read_written(cell, decimal) is not None for cell in cells]
        two = [read_written(cell, other) is not None for cell in cells]
        if sum(one) >= max(_NEEDED * len(cells), 1) and sum(one) > sum(two):
            return True
    return False
