"""JSON: one object a line, an array of objects, or objects one after the other.

Objects inside of objects become columns of their own (``ColumnPaths``). A table that is written as
one object, by columns or with its rows below a name, is unfolded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from relabel.importers.files.encoding import MAX_LINE, find_encoding, open_text, read_lines
from relabel.importers.options import ImportOptions
from relabel.importers.records import (
    MAX_COLUMNS,
    Problem,
    Row,
    Schema,
    check_column_names,
    row_problem,
)
from tracin_core.errors import InputError

_MAX_PARTS = 50  # of one column; an object with more names is rather a dictionary than a row
_MAX_DEPTH = 8  # as deep as a choice lies in an export of Label Studio
_LISTED = 3  # objects of a list; more are rather marked passages or boxes
JsonPath = tuple[str | int, ...]
_CHUNK = 1 << 16  # characters
_BETWEEN = re.compile(r"[\s,]*")
_ARRAY = re.compile(r"\ufeff?\s*\[\s*(\{|\]\s*$)")
# Rows below a name, perhaps behind other names with plain values.
_ROWS_BELOW = re.compile(
    r'\ufeff?\s*\{\s*("[^"\\]{0,200}"\s*:\s*("[^"\\]{0,200}"|[-+.\w]{1,40})\s*,\s*){0,50}'
    r'"[^"\\]{0,200}"\s*:\s*\[\s*(?=\{)'
)
_NEXT_OBJECT = re.compile(r"\n\s*\{")
_DECODER = json.JSONDecoder()
# Enough to meet every column of a table whose objects leave empty ones out.
_ROWS_WITH_NAMES = 10_000
_MAX_NAMES = 10 * MAX_COLUMNS
_FORMS = {
    "array": "The file is an array of objects: row 1 is its first object.",
    "rows": "The file is one object with an array of objects in it: row 1 is its first object.",
    "objects": "The objects stand over several lines, or several on one: row 1 is the first.",
}


class ColumnPaths:
    """Collects where the columns of rows lie: at the top, or inside of objects.

    Attributes:
        unfolded: Columns at the top whose objects became columns.
    """

    def __init__(self) -> None:
        self.unfolded: list[str] = []
        self._top: dict[str, dict[str, JsonPath]] = {}
        self._plain: set[str] = set()

    def add(self, row: Mapping[str, Any]) -> None:
        """Look at one more row."""
        for name, value in row.items():
            parts = self._top.setdefault(name, {})
            if not _has_parts(value):
                if value is not None and value not in ([], {}):
                    self._plain.add(name)
            elif len(parts) <= _MAX_PARTS:
                _collect(parts, name, (name,), value, 0)

    @property
    def num_names(self) -> int:
        """Return how many names at the top were met."""
        return len(self._top)

    def finish(self) -> dict[str, JsonPath]:
        """Return the path of each column by its name, in the order they were met."""
        paths: dict[str, JsonPath] = {}
        can_unfold = sum(map(len, self._top.values())) + len(self._top) <= MAX_COLUMNS
        for name, parts in self._top.items():
            unfolds = can_unfold and 0 < len(parts) <= _MAX_PARTS
            # A name with a point in it may be one of a column at the top.
            unfolds = unfolds and not parts.keys() & self._top.keys()
            if not unfolds or name in self._plain:
                paths[name] = (name,)
            if unfolds:
                self.unfolded.append(name)
                paths |= parts
        return paths


def look_up(row: Mapping[str, Any], path: JsonPath) -> Any:
    """Return what lies at a path, None where there is nothing."""
    found: Any = row
    for step in path:
        if isinstance(found, Mapping):
            found = found.get(str(step))
        elif isinstance(found, list) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return None
    return found


def unfold_table(found: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the rows of a table that is written as a single object, None where it is none.

    It may hold one list of rows, a list for each column, or for each column an object with the
    values by row, as pandas' ``to_json`` writes it.
    """
    values = list(found.values())
    lists = [value for value in values if _is_rows(value)]
    if len(lists) == 1:
        return list(lists[0])
    if len(values) < 2:
        return None
    if all(isinstance(value, list) and len(value) > 1 for value in values):
        return _from_columns(found, [len(value) for value in values])
    if all(isinstance(value, dict) and len(value) > 1 for value in values):
        keys = list(values[0])
        if all(list(value) == keys for value in values):
            return [{name: found[name][key] for name in found} for key in keys]
    return None


def _from_columns(
    found: Mapping[str, Sequence[Any]], lengths: Sequence[int]
) -> list[dict[str, Any]] | None:
    if len(set(lengths)) > 1:
        return None
    return [dict(zip(found, cells, strict=True)) for cells in zip(*found.values(), strict=True)]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(v, dict) for v in value)


def _has_parts(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(one, dict) for one in value[:_LISTED])
    return isinstance(value, dict) and bool(value)


def _collect(parts: dict[str, JsonPath], name: str, path: JsonPath, value: Any, depth: int) -> None:
    if not _has_parts(value) or depth == _MAX_DEPTH:
        parts[name] = path
        return
    items: Iterable[tuple[str | int, Any]] = (
        enumerate(value[:_LISTED]) if isinstance(value, list) else value.items()
    )
    for step, inner in items:
        if len(parts) > _MAX_PARTS:
            return
        _collect(parts, f"{name}.{step}", (*path, step), inner, depth + 1)


def find_json_form(path: Path, encoding: str) -> str:
    """Return how a file holds its objects.

    Returns:
        "lines"; "array"; "objects" over several lines; or "rows" if an array of them stands below a
        name in one object that is longer than any row.
    """
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
        if _ROWS_BELOW.match(start) and _is_long(path, encoding):
            return "rows"
        return "objects" if first == "{" else "lines"
    return "objects" if isinstance(found, dict) and end > start.index("{") else "lines"


def _is_long(path: Path, encoding: str) -> bool:
    """Return whether the object that a file begins with is longer than a row may be."""
    with open_text(path, encoding) as file:
        text = file.read(MAX_LINE)
    try:
        _DECODER.raw_decode(text.lstrip("\ufeff \t\r\n"))
    except (ValueError, RecursionError):
        return len(text) == MAX_LINE
    return False


def read_values(
    path: Path, encoding: str, *, below_name: bool = False
) -> Iterator[Any | ValueError]:
    """Yield the values at the top of a file, those of an array one by one.

    Args:
        path: Of the file.
        encoding: Of its text.
        below_name: Whether the array stands below a name in an object; what follows is left out.

    What cannot be read is an error, after which the next object at the beginning of a line is
    looked for.

    Raises:
        InputError: If the file cannot be read, or a value is far too long.
    """
    with open_text(path, encoding) as file:
        text, place, number = file.read(_CHUNK).lstrip("\ufeff"), 0, 0
        before = _ROWS_BELOW.match(text) if below_name else None
        if before is not None:
            place = before.end()
        while True:
            place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]
            if place == len(text):
                text, place = file.read(_CHUNK), 0
                if not text:
                    return
                continue
            if before is not None and text[place] == "]":
                return
            if text[place] in "[]":  # around all; values inside of objects are read with them
                place += 1
                continue
            number += 1
            text, end, found = _read_one(file, text[place:], path, number)
            yield found
            place = end


def peek_objects(path: Path, number: int = 3) -> list[dict[str, Any]]:
    """Return the first objects of a JSON file; nothing where something else is among them."""
    try:
        first = list(islice(read_values(path, find_encoding(path).name), number))
    except InputError:
        return []
    objects = [one for one in first if isinstance(one, dict)]
    return objects if len(objects) == len(first) else []


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
                    '{"text": "...", "label": "..."}. Export the data again; with pandas: '
                    'data.to_json(path, orient="records", lines=True).'
                ) from error
            wrong = error if isinstance(error, ValueError) else ValueError("nested too deeply")
            return text, following.start() if following else len(text), wrong


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class JsonLinesReader:
    """Rows of a JSON file, gzip or not; keys are the columns.

    Attributes:
        path: Of the file.
        encoding: Of its text.
        form: How it holds its objects, as ``find_json_form`` says.
        paths: Where each column lies in an object.
        table: The rows of a table that is written as a single object; None where it is none.
        passed_over: Names at the top that make no columns.
    """

    passed_over: tuple[str, ...] = ()

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        self.name, self.folder = path.name, path.parent
        found = None if options.encoding else find_encoding(path)
        self.encoding = options.encoding or (found.name if found else "utf-8")
        self.form = find_json_form(path, self.encoding)
        self._num_lines = self._num_commas = 0
        self.table: list[dict[str, Any]] | None = None
        notes = [found.note] if found and found.note else []
        notes += [_FORMS[self.form]] if self.form in _FORMS else []
        self.paths = self._find_columns(notes)
        columns = tuple(self.paths)
        self.schema = Schema(columns=columns, typed=True, notes=tuple(notes))

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows; what a row leaves out is None."""
        paths = [self.paths[name] for name in columns]
        is_flat = all(len(path) == 1 for path in paths)
        for number, found in self._parse():
            if isinstance(found, Problem):
                yield found
            elif is_flat:
                yield Row(number, [found.get(name) for name in columns])
            else:
                yield Row(number, [look_up(found, path) for path in paths])

    def find_path(self, found: Mapping[str, Any], column: str) -> JsonPath | None:
        """Return where an object holds a column; None where it holds no such thing."""
        return self.paths[column]

    def explain_unwritable(self, found: Mapping[str, Any], column: str) -> str:
        """Return why another answer cannot be written into an object, "" where it can be."""
        return ""

    def _find_columns(self, notes: list[str]) -> dict[str, JsonPath]:
        collected = ColumnPaths()
        first = alone = None
        count = 0
        for _, found in islice(self._parse(), _ROWS_WITH_NAMES):
            if isinstance(found, Problem):
                first = first or found
                continue
            collected.add({n: v for n, v in found.items() if n not in self.passed_over})
            count += 1
            alone = found if count == 1 else None
            if collected.num_names > _MAX_NAMES:
                break  # far more than can be used, which is said below
        if not collected.num_names:
            what = f" In {first.where}: {first.message}" if first else ""
            raise InputError(
                f"{self.path} holds no JSON objects. Expected one object a line, for example "
                f'{{"text": "...", "label": "..."}}, or an array of such.{what} With pandas: '
                'data.to_json(path, orient="records", lines=True).'
            )
        if self._num_commas:
            notes.append(
                f"{self._num_commas:,} of the first {self._num_lines:,} lines end with a comma "
                "after their object, as in an array; it is passed over."
            )
        self.table = unfold_table(alone) if alone is not None and first is None else None
        if self.table is not None:
            collected = ColumnPaths()
            for row in self.table[:_ROWS_WITH_NAMES]:
                collected.add(row)
            notes.append("The file is one object that holds a table: row 1 is its first row.")
        paths = collected.finish()
        check_column_names(list(paths), self.path)
        if collected.unfolded:
            listed = ", ".join(map(repr, collected.unfolded[:5]))
            example = next(name for name, path in paths.items() if len(path) > 1)
            notes.append(
                f"What is inside of the objects in {listed} is read as columns such as "
                f"{example!r}; of a list of objects, that of the first three."
            )
        return paths

    def _parse(self) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
        if self.table is not None:
            yield from enumerate(self.table, 1)
        elif self.form == "lines":
            self._num_lines = self._num_commas = 0
            for number, line in enumerate(read_lines(self.path, self.encoding), 1):
                if line.strip():
                    self._num_lines += 1
                    self._num_commas += line[-4:].rstrip().endswith("},")
                    yield number, _parse_line(number, line)
        else:
            is_below = self.form == "rows"
            values = read_values(self.path, self.encoding, below_name=is_below)
            for number, found in enumerate(values, 1):
                yield number, _check_object(number, found)


def _parse_line(number: int, line: str) -> dict[str, Any] | Problem:
    try:
        return _check_object(number, json.loads(line))
    except (ValueError, RecursionError) as error:
        bare = line.rstrip()
        if bare.endswith("},"):
            return _parse_line(number, bare[:-1])
        return row_problem(
            number,
            f"It is no JSON: {error}. Expected one object a line, as json.dumps writes it.",
            "not JSON",
        )


def _check_object(number: int, found: Any) -> dict[str, Any] | Problem:
    if isinstance(found, dict):
        return found
    if isinstance(found, ValueError):
        return row_problem(number, f"It is no JSON: {found}. Expected an object.", "not JSON")
    return row_problem(
        number,
        f"It holds {type(found).__name__}, expected an object such as "
        '{"text": "...", "label": "..."}.',
        "not an object",
    )
