"""Values of a table's cells: which are missing, which are numbers, what a label is called."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from tracin_core.errors import InputError
from tracin_core.storable import BROKEN, ZERO, find_text_fault

# How people and programs write that a number is not there. In a column of names only an empty
# cell is missing: NA is also a country, None also an answer.
MISSING_NUMBERS = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a", "<na>"})
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
MAX_NAME = 200  # characters of a class name; what is longer is a text
# Beyond this a float no longer tells neighbouring whole numbers apart.
_LARGEST_WHOLE = 2**53


class RefusedError(InputError):
    """A value that cannot be used; its row is left out."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing."""
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
    """See that a text can be stored.

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
