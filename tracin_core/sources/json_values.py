"""JSON that is not one object a line: an array, objects over several lines or one after another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tracin_core.errors import InputError
from tracin_core.sources.text_encoding import MAX_LINE, open_text

_CHUNK = 1 << 16  # characters
_BETWEEN = re.compile(r"[\s,]*")
_ARRAY = re.compile(r"\ufeff?\s*\[\s*(\{|\]\s*$)")
_NEXT_OBJECT = re.compile(r"\n\s*\{")
_DECODER = json.JSONDecoder()


def find_json_form(path: Path, encoding: str) -> str:
    """Return how a file holds its objects: "lines", "array" or "objects" over several lines."""
    with open_text(path, encoding) as file:
        start = file.read(_CHUNK)
    if _ARRAY.match(start):
        return "array"
    first = next((line for line in start.split("\n") if line.strip("\ufeff\r\t ")), "")
    first = first.strip("\ufeff\r\t ")
    if not first.startswith("{") or _is_object(first.rstrip(",")):
        return "lines"
    try:
        found, end = _DECODER.raw_decode(start, start.index("{"))
    except (ValueError, RecursionError):
        return "objects" if first == "{" else "lines"
    return "objects" if isinstance(found, dict) and end > start.index("{") else "lines"


def read_values(path: Path, encoding: str) -> Iterator[Any | ValueError]:
    """Yield the values at the top of a file, those of an array one by one.

    What cannot be read is an error, after which the next object at the beginning of a line is
    looked for.

    Raises:
        InputError: If the file cannot be read, or a value is far too long.
    """
    with open_text(path, encoding) as file:
        text, place, number = file.read(_CHUNK).lstrip("\ufeff"), 0, 0
        while True:
            place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]
            if place == len(text):
                text, place = file.read(_CHUNK), 0
                if not text:
                    return
                continue
            if text[place] in "[]":  # around all; values inside of objects are read with them
                place += 1
                continue
            number += 1
            text, end, found = _read_one(file, text[place:], path, number)
            yield found
            place = end


def _read_one(
    file: TextIO, text: str, path: Path, number: int
) -> tuple[str, int, Any | ValueError]:
    """Return what is in memory, where the value at its beginning ends, and the value."""
    while True:
        try:
            found, end = _DECODER.raw_decode(text)
            return text, end, found
        except (ValueError, RecursionError) as error:
            # Twice as much each time, so that a long value is not read over and over.
            more = file.read(max(len(text), _CHUNK)) if len(text) < MAX_LINE else ""
            if more:
                text += more
                continue
            following = _NEXT_OBJECT.search(text, 1)
            if len(text) >= MAX_LINE and following is None:
                raise InputError(
                    f"Object {number} of {path} is longer than {MAX_LINE:,} characters or is not "
                    f"closed ({error}). Expected objects such as "
                    '{"text": "...", "label": "..."}. Export the data again.'
                ) from error
            wrong = error if isinstance(error, ValueError) else ValueError("nested too deeply")
            return text, following.start() if following else len(text), wrong


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
