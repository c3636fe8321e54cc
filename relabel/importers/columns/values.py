"""Read the cells of a table: missing values, numbers, names, texts, embedded images.

Numbers may be written as people and spreadsheets do (1.234,50 or $1,234.50 or 12 %); images may be
bytes, base64, data addresses or hexadecimal.
"""

from __future__ import annotations

import ast
import base64
import binascii
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from relabel.features.image import MAX_BYTES
from relabel.text import BROKEN, ZERO, find_text_fault
from tracin_core.errors import InputError

# How people and programs write that a number is not there. In a column of names only an empty
# cell is missing: NA is also a country, None also an answer.
MISSING_NUMBERS = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a", "<na>"})
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
MAX_NAME = 200  # characters of a class name; what is longer is a text
# Beyond this a float no longer tells neighbouring whole numbers apart.
_LARGEST_WHOLE = 2**53
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
MAX_TEXT = 100_000  # characters: about fifty pages, more than anybody reviews on a screen
# A blank line: on a page it sets a title apart from what follows, and no word of a text model
# goes across it. Keys are made of the joined text, so it must stay what it is.
SEPARATOR = "\n\n"
# How files of pictures begin, and what that is in base64: whole groups of three bytes.
_STARTS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "_9j_", "R0lGODdh", "R0lGODlh", "SUkqA", "TU0AK", "UklGR")
_DATA_ADDRESS = re.compile(r"data:image/[\w.+-]+(;[\w=.+-]+)*;base64,", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"(\\\\?x|0x)?(89504e470d0a|ffd8ff|4749463839|4749463837)", re.IGNORECASE)
_LETTERS = re.compile(r"[A-Za-z0-9+/_=\s-]+")
_PYTHON_BYTES = tuple(
    f"b{quote}{start}"
    for quote in "'\""
    for start in ("\\x89PNG", "\\xff\\xd8\\xff", "GIF8", "II*\\x00", "MM\\x00*", "RIFF")
)
_SHORTEST = 40  # characters; no picture is smaller


class RefusedError(InputError):
    """A value that cannot be used; its row is left out."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


def is_missing(value: Any) -> bool:
    """Return whether a cell holds nothing."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def read_number(value: Any) -> float | int | None:
    """Return the number in a cell, None where it is missing.

    Raises:
        ValueError: If it is no number, or infinite.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING_NUMBERS:
            return None
        if "_" in text:  # which Python passes over: 1_000 is a code rather than a number
            raise ValueError("no number")
        number: float | int = int(text) if text.isascii() and text.isdigit() else float(text)
    elif isinstance(value, bool):
        number = int(value)
    elif isinstance(value, int | float):
        number = value
    elif isinstance(value, Decimal):
        number = float(value)
    elif value is None:
        return None
    else:
        raise ValueError("no number")
    if isinstance(number, int):
        if abs(number) < _LARGEST_WHOLE:
            return number
        try:
            number = float(number)
        except OverflowError as error:  # of more than 308 digits
            raise ValueError("infinite") from error
    if math.isinf(number):
        raise ValueError("infinite")
    return None if math.isnan(number) else number


def read_name(value: Any, *, shortens: bool = True) -> str:
    """Return a cell as the name of a category or class; "" where it is missing.

    Args:
        value: The cell.
        shortens: Whether whole numbers that a program wrote as 3.0, because others of the column
            were missing, are 3.

    Raises:
        RefusedError: If it is a list, an object or bytes.
    """
    if is_missing(value):
        return ""
    if isinstance(value, float | Decimal):
        whole = _WHOLE.fullmatch(str(value)) if shortens else None
        return whole[1] if whole else str(value)
    if isinstance(value, str):
        text = value.strip()
        whole = _WHOLE.fullmatch(text) if shortens else None
        return whole[1] if whole else text
    if isinstance(value, bool | int | datetime | date | time):
        return str(value)
    raise RefusedError(
        "no name", f"It holds {show(value)}, expected a name or a number. Write one into each cell."
    )


def check_text(text: str, what: str) -> None:
    """Check that a text can be stored.

    Raises:
        RefusedError: If it has bytes of another encoding or zero characters in it.
    """
    fault = find_text_fault(text)
    if fault == BROKEN:
        raise RefusedError(
            "wrong encoding",
            f"{what} holds bytes that do not fit the file's encoding: {show(text)}. Save the file "
            "as UTF-8, or name its encoding with --encoding.",
        )
    if fault == ZERO:
        raise RefusedError(
            "zero character",
            f"{what} contains a zero character, which no database can hold: {show(text)}. "
            "Remove it.",
        )


def show(value: Any, length: int = 40) -> str:
    """Return the beginning of a value in quotes, safe to print."""
    text = str(value)
    return ascii_escaped(repr(text if len(text) <= length else text[: length - 1] + "…"))


def ascii_escaped(text: str) -> str:
    """Return a text in which every half letter is escaped, so that it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def parse_locale_number(text: str, decimal: str) -> str | None:
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


def find_locale_numbers(columns: Sequence[Iterable[str]], delimiter: str) -> dict[int, str]:
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
        read = [parse_locale_number(cell, own) for cell in cells]
        enough = sum(number is not None for number in read) >= max(_NEEDED * len(cells), 1)
        changed = any(n not in (None, cell.strip()) for n, cell in zip(read, cells, strict=True))
        if enough and changed and len(set(map(_find_unit, cells)) - {""}) < 2:
            found[place] = own
    return found


def _find_unit(text: str) -> str:
    """Return the currency or per cent of a cell: amounts of two currencies are not alike."""
    return "".join(found.group().strip(" +-") for found in _AFFIXES.finditer(text.strip()))


def _has_fractions(columns: Sequence[Sequence[str]], decimal: str, other: str) -> bool:
    """Return whether some column is written one way and cannot be written the other way."""
    for cells in columns:
        one = [parse_locale_number(cell, decimal) is not None for cell in cells]
        two = [parse_locale_number(cell, other) is not None for cell in cells]
        if sum(one) >= max(_NEEDED * len(cells), 1) and sum(one) > sum(two):
            return True
    return False


def read_text(values: Sequence[Any], columns: Sequence[str]) -> str:
    """Return the text in one cell, or those in several with a blank line between.

    Args:
        values: The cells; of several, empty ones are passed over.
        columns: Their names, for the messages.

    Raises:
        RefusedError: If all are empty, or the text is far too long, or cannot be stored.
    """
    texts = [
        _read_cell(value, column)
        for value, column in zip(values, columns, strict=True)
        if not is_missing(value)
    ]
    if not texts:
        names = ", ".join(map(repr, columns))
        raise RefusedError(
            "empty text",
            f"The text in column {names} is empty. Fill it in."
            if len(columns) == 1
            else f"The texts in columns {names} are all empty. Fill one in.",
        )
    text = SEPARATOR.join(texts)
    check_length(text)
    return text


def check_length(text: str) -> None:
    """Check that a text is not far too long.

    Raises:
        RefusedError: If it is.
    """
    if len(text) > MAX_TEXT:
        raise RefusedError(
            "text too long",
            f"The text has {len(text):,} characters, expected at most {MAX_TEXT:,}. Cut it, or "
            "split it into several examples.",
        )


def _read_cell(value: Any, column: str) -> str:
    if isinstance(value, list | dict | bytes):
        raise RefusedError(
            "no text", f"The column {column!r} holds {type(value).__name__}, expected text."
        )
    text = str(value)
    check_text(text, f"The text in column {column!r}")
    return text


def holds_image(value: Any) -> bool:
    """Return whether a cell is a picture itself, by how it begins."""
    if isinstance(value, bytes):
        if value[4:8] == b"ftyp":
            return value[8:11] in (b"hei", b"avi", b"mif")
        return value.startswith(_STARTS) or (value[:4] == b"RIFF" and value[8:12] == b"WEBP")
    if not isinstance(value, str) or len(value) < _SHORTEST:
        return False
    text = value[:200].strip()
    if text[:5].lower() == "data:":
        return _DATA_ADDRESS.match(text) is not None
    if text.startswith(_BASE64_STARTS):
        return _LETTERS.fullmatch(text) is not None
    return text.startswith(_PYTHON_BYTES) or _HEXADECIMAL.match(text) is not None


def decode_image(text: str) -> bytes:
    """Return the bytes of a picture that a cell is.

    Raises:
        RefusedError: If it is too large, or cut off.
    """
    text = text.strip()
    address = _DATA_ADDRESS.match(text)
    if address is not None:
        text = text[address.end() :]
    if len(text) > 4 * MAX_BYTES:  # as Python writes bytes, four characters each
        raise RefusedError(
            "file too large",
            f"The picture in the cell has {len(text):,} characters, expected at most "
            f"{MAX_BYTES / 2**20:.0f} MB. Save it as a file, and write the file's name there.",
        )
    try:
        if text.startswith(_PYTHON_BYTES):
            found = ast.literal_eval(text)
            return found if isinstance(found, bytes) else b""
        if address is None and _HEXADECIMAL.match(text):
            return bytes.fromhex(re.sub(r"^(\\\\?x|0x)", "", text))
        plain = re.sub(r"\s+", "", text).replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, SyntaxError, MemoryError, binascii.Error) as error:
        raise RefusedError(
            "unreadable image",
            f"The picture in the cell cannot be decoded ({error}): it begins with "
            f"{show(text)} and is damaged or cut off. Write it again, or save it as a file and "
            "write the file's name there.",
        ) from error
