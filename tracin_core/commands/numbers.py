"""Numbers on the command line: within their bounds, or refused with what was expected."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

from tracin_core.terms import LARGEST_NUMBER, LARGEST_SEED

_WHOLE = re.compile(r"\s*[+-]?\d{1,30}\s*", re.ASCII)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number within its bounds, for ``type=`` of an option."""

    def read(text: str) -> int:
        # A number of thousands of digits is none that anybody means, and slow to read.
        number = int(text) if _WHOLE.fullmatch(text) else None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"found {text[:40]!r}, expected a whole number from {least} to {most}"
            )
        return number

    return read


def number(expected: str, holds: Callable[[float], bool]) -> Callable[[str], float]:
    """Return what reads a finite number for which something holds.

    Args:
        expected: What, in words.
        holds: Tells whether it does.
    """

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or not holds(found):
            raise argparse.ArgumentTypeError(f"found {text[:40]!r}, expected {expected}")
        return found

    return read


seed = whole(0, LARGEST_SEED)
row_id = whole(1, LARGEST_NUMBER)
share = number("a number from 0 to 1", lambda found: 0 <= found <= 1)
