"""Numbers as people type them."""

from __future__ import annotations

import math

# Characters that some keyboards and spreadsheets put between digits, or for a minus.
_REPLACED = str.maketrans({"−": "-", "\u00a0": "", "\u202f": "", " ": "", "_": "", "'": ""})


def read_number(typed: str) -> float | None:
    """Return the finite number that a person typed, or None where it is none.

    A single comma followed by other than three digits is a decimal comma; every other comma
    separates thousands.
    """
    text = typed.strip().translate(_REPLACED)
    whole, comma, rest = text.partition(",")
    if comma and "," not in rest and "." not in text and len(rest) != 3:
        text = f"{whole}.{rest}"
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
