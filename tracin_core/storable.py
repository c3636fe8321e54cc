"""What a text must be so that files, both databases and JSON can hold it."""

from __future__ import annotations

from typing import Literal

# Half a surrogate pair, which has no UTF-8; it also stands for bytes that fit no encoding.
BROKEN: Literal["broken"] = "broken"
# A NUL, which PostgreSQL refuses and at which C ends a text.
ZERO: Literal["zero"] = "zero"
TextFault = Literal["broken", "zero"]


def find_text_fault(text: str) -> TextFault | None:
    """Return why a text cannot be stored, or None for one that can.

    Every text of an import passes here, so no character is looked at in Python.
    """
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return BROKEN
    return ZERO if "\x00" in text else None
