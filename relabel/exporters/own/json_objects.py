"""A JSON file given back: one value of some objects is another one, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from relabel.exporters.own.answers import Answers
from relabel.exporters.own.source import refuse
from relabel.exporters.own.text import SameText
from relabel.importers.files.encoding import open_text, read_lines
from relabel.importers.readers.json_lines import JsonLinesReader, JsonPath, look_up

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[\s,\[\]\ufeff]*")
Piece = tuple[int, str, str]


def write_objects(file: BinaryIO, reader: JsonLinesReader, answers: Answers) -> None:
    """Write the file, all of whose text but the answers is the same bytes.

    Raises:
        InputError: If an object or a character cannot be written.
    """
    if reader.table is not None or reader.form == "rows":
        raise refuse(f"{reader.path.name} is one object that holds a table.")
    text = SameText(reader.path, reader.encoding, file)
    is_array = reader.form == "array"
    pieces = _read_lines(reader) if reader.form == "lines" else _read_objects(reader)
    for number, between, raw in pieces:
        if between:
            text.write(between, between)
        if not raw:
            continue
        is_object = _starts_object(raw)
        is_out = (is_object or not is_array) and answers.leaves_out(number)
        if is_out and is_array:
            raise refuse(
                f"{reader.path.name} is an array, out of which objects cannot be taken without "
                "changing what is between them. Keep all of them, or write it as JSON lines."
            )
        text.write(raw, None if is_out else _change(raw, reader, number, answers))
    text.check()


def _starts_object(raw: str) -> bool:
    return raw.lstrip("\ufeff \t\r\n").startswith("{")


def _read_lines(reader: JsonLinesReader) -> Iterator[Piece]:
    for number, line in enumerate(read_lines(reader.path, reader.encoding), 1):
        yield (number, "", line) if line.strip() else (number, line, "")


def _read_objects(reader: JsonLinesReader) -> Iterator[Piece]:
    """Yield the objects of an array, or one after the other, with what stands before each."""
    with open_text(reader.path, reader.encoding) as opened:
        text = opened.read()
    place = number = 0
    while True:
        found = _BETWEEN.match(text, place)
        start = place if found is None else found.end()
        if start == len(text):
            yield number + 1, text[place:], ""
            return
        number += 1
        try:
            _, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise refuse(f"Object {number:,} of {reader.path.name} is no JSON: {error}.") from error
        yield number, text[place:start], text[start:end]
        place = end


def _change(raw: str, reader: JsonLinesReader, number: int, answers: Answers) -> str:
    if not _starts_object(raw):
        return raw
    start = raw.index("{")
    try:
        whole, end = _DECODER.raw_decode(raw, start)
    except (ValueError, RecursionError):
        return raw  # no example
    path = reader.find_path(whole, answers.source.column)
    cell = None if path is None else look_up(whole, path)
    new = answers.replace(number, cell, typed=True)
    beside = answers.cells_beside(number) if answers.beside else ()
    close = end - 1
    if beside:
        named = zip(answers.beside.values(), beside, strict=True)
        added = ", ".join(f"{_write(name)}: {_write(value)}" for name, value in named)
        raw = raw[:close] + (", " if whole else "") + added + raw[close:]
    if new is not cell:
        if why := reader.explain_unwritable(whole, answers.source.column):
            raise refuse(f"Object {number:,}: {why}")
        where = None if path is None else find_value(raw, start, path)
        if where is None:
            raise refuse(f"Object {number:,} has no answer in which one could be written.")
        raw = raw[: where[0]] + _write(new) + raw[where[1] :]
    return raw


def _write(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def find_value(raw: str, place: int, path: JsonPath) -> tuple[int, int] | None:
    """Return where the value at a path stands in the text of an object; None where it is not.

    Of a name that comes twice the last value counts, as for every reader of JSON.
    """
    if not path:
        return place, _DECODER.raw_decode(raw, place)[1]
    found = None
    closing = "]" if raw[place] == "[" else "}"
    if raw[place] not in "[{":
        return None
    index, place = 0, _skip(raw, place + 1)
    while raw[place] != closing:
        step: str | int = index
        if closing == "}":
            step, place = _DECODER.raw_decode(raw, place)
            place = _skip(raw, _skip(raw, place) + 1)  # behind the colon
        if step == (path[0] if closing == "]" else str(path[0])):
            found = find_value(raw, place, path[1:])
        place = _skip(raw, _DECODER.raw_decode(raw, place)[1])
        index += 1
        if raw[place] == ",":
            place = _skip(raw, place + 1)
    return found


def _skip(raw: str, place: int) -> int:
    found = _BLANK.match(raw, place)
    return place if found is None else found.end()
