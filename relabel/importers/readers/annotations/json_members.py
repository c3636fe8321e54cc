"""Read a large JSON object member by member, and the arrays in it element by element."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from relabel.importers.files.encoding import MAX_LINE, open_text
from tracin_core.errors import InputError

_DECODER = json.JSONDecoder()
_CHUNK = 1 << 16  # characters
_BLANK = re.compile(r"[\s\ufeff]*")


def read_members(path: Path, encoding: str) -> Iterator[tuple[str, Any]]:
    """Yield the members of the object in a file by their names, arrays element by element.

    Raises:
        InputError: If the file cannot be read, is no JSON object, is cut off, or has a value that
            is far too long.
    """
    with open_text(path, encoding) as file:
        text = _Window(file, path)
        text.take("{")
        while text.peek() != "}":
            name = str(text.read_value())
            text.take(":")
            if text.peek() != "[":
                yield name, text.read_value()
            else:
                text.take("[")
                while text.peek() != "]":
                    yield name, text.read_value()
                    text.take_comma("]")
                text.take("]")
            text.take_comma("}")


class _Window:
    """The part of a file that is being looked at."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._text, self._place = "", 0

    def peek(self) -> str:
        """Return the next character behind blanks, "" at the end."""
        while True:
            blank = _BLANK.match(self._text, self._place)
            self._place = self._place if blank is None else blank.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read_more(_CHUNK):
                return ""

    def take(self, character: str) -> None:
        """Pass over a character that has to come next."""
        found = self.peek()
        if found != character:
            raise self._wrong(f"found {found!r} where {character!r} was expected")
        self._place += 1

    def take_comma(self, end: str) -> None:
        """Pass over a comma, which may be missing before the end."""
        if self.peek() != end:
            self.take(",")

    def read_value(self) -> Any:
        """Return the value that comes next."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except (ValueError, RecursionError) as error:
                num_seen = len(self._text) - self._place
                # Twice as much each time, so that a long value is not read over and over.
                if num_seen > MAX_LINE or not self._read_more(max(num_seen, _CHUNK)):
                    raise self._wrong(str(error)) from error
                continue
            # A number may go on in what has not been read.
            if end < len(self._text) or not self._read_more(_CHUNK):
                self._place = end
                return value

    def _read_more(self, size: int) -> bool:
        more = self._file.read(size)
        self._text, self._place = self._text[self._place :] + more, 0
        return bool(more)

    def _wrong(self, what: str) -> InputError:
        return InputError(
            f"{self._path} cannot be read as JSON: {what}. Expected one whole object. If the file "
            "is cut off, copy or export it again."
        )
