"""Pictures that are written into a table's cells: bytes, base64, data addresses, hexadecimal."""

from __future__ import annotations

import ast
import base64
import binascii
import re
from typing import Any

from tracin_core.examples.images import MAX_BYTES
from tracin_core.sources.values import RefusedError, show

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


def holds_image(value: Any) -> bool:
    """Tell whether a cell is a picture itself, by how it begins."""
    if isinstance(value, bytes):
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
