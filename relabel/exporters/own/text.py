"""Text that is written back in the encoding it was read in, and proven to be the same bytes."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path
from typing import BinaryIO

from relabel.exporters.own.source import refuse
from relabel.importers.files.encoding import open_bytes

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHUNK = 1 << 20  # bytes


class SameText:
    """A text file in the making, beside the one that it is made from."""

    def __init__(self, path: Path, encoding: str, file: BinaryIO) -> None:
        """Begin with the mark of the byte order, where the file has one.

        Args:
            path: Of the file that is read.
            encoding: In which it is read.
            file: That is written.
        """
        self._path, self._file = path, file
        self._was = hashlib.sha256()
        mark, self._encoding = _find_mark(path, encoding)
        is_wide = self._encoding.lower().startswith(("utf-16", "utf_16"))
        self._errors = "strict" if is_wide else "surrogateescape"
        self._was.update(mark)
        file.write(mark)

    def write(self, was: str, now: str | None) -> None:
        """Write a piece in the place of another one; None leaves it out.

        Raises:
            InputError: If the file's encoding has no such characters.
        """
        data = was.encode(self._encoding, self._errors)
        self._was.update(data)
        if now is None:
            return
        if now is not was:
            try:
                data = now.encode(self._encoding, self._errors)
            except UnicodeEncodeError as error:
                raise refuse(
                    f"{self._path.name} is written in {self._encoding}, which has no "
                    f"{now[error.start : error.end]!r:.20}."
                ) from error
        self._file.write(data)

    def check(self) -> None:
        """Check that all that was said to be in the file is its bytes.

        Raises:
            InputError: If not: then what was written back may be others, too.
        """
        found = hashlib.sha256()
        with open_bytes(self._path) as file:
            while piece := file.read(_CHUNK):
                found.update(piece)
        if found.digest() != self._was.digest():
            raise refuse(
                f"{self._path.name} cannot be written back byte for byte: its text is not what "
                f"{self._encoding} makes of it."
            )


def _find_mark(path: Path, encoding: str) -> tuple[bytes, str]:
    """Return the mark at a file's beginning that its encoding takes off, and the encoding after."""
    name = codecs.lookup(encoding).name
    with open_bytes(path) as file:
        start = file.read(3)
    for mark, plain in _MARKS:
        takes_off = name == "utf-8-sig" if mark == codecs.BOM_UTF8 else name == "utf-16"
        if takes_off and start.startswith(mark):
            return mark, plain
    return b"", {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(name, encoding)
