"""JSON: one object a line, or an array of objects, or objects one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tracin_core.errors import InputError
from tracin_core.sources.json_objects import ColumnPaths, look_up, unfold_table
from tracin_core.sources.json_values import find_json_form, read_values
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import MAX_COLUMNS, Row, Schema, check_column_names, row_problem
from tracin_core.sources.text_encoding import find_encoding, read_lines

# Enough to meet every column of a table whose objects leave empty ones out.
_ROWS_WITH_NAMES = 10_000
_MAX_NAMES = 10 * MAX_COLUMNS
_FORMS = {
    "array": "The file is an array of objects: row 1 is its first object.",
    "objects": "The objects stand over several lines, or several on one: row 1 is the first.",
}


class JsonLinesReader:
    """Rows of a JSON file, gzip or not; keys are the columns."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path = path
        self.name, self.folder = path.name, path.parent
        found = None if options.encoding else find_encoding(path)
        self._encoding = options.encoding or (found.name if found else "utf-8")
        self._form = find_json_form(path, self._encoding)
        self._num_lines = self._num_commas = 0
        self._table: list[dict[str, Any]] | None = None
        notes = [found.note] if found and found.note else []
        notes += [_FORMS[self._form]] if self._form in _FORMS else []
        self._paths = self._find_columns(notes)
        columns = tuple(self._paths)
        self.schema = Schema(columns=columns, typed=True, notes=tuple(notes))

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows; what a row leaves out is None."""
        paths = [self._paths[name] for name in columns]
        is_flat = all(len(path) == 1 for path in paths)
        for number, found in self._parse():
            if isinstance(found, Problem):
                yield found
            elif is_flat:
                yield Row(number, [found.get(name) for name in columns])
            else:
                yield Row(number, [look_up(found, path) for path in paths])

    def _find_columns(self, notes: list[str]) -> dict[str, tuple[str | int, ...]]:
        collected = ColumnPaths()
        first = alone = None
        count = 0
        for _, found in islice(self._parse(), _ROWS_WITH_NAMES):
            if isinstance(found, Problem):
                first = first or found
                continue
            collected.add(found)
            count += 1
            alone = found if count == 1 else None
            if collected.num_names > _MAX_NAMES:
                break  # far more than can be used, which is said below
        if not collected.num_names:
            what = f" In {first.where}: {first.message}" if first else ""
            raise InputError(
                f"{self._path} holds no JSON objects. Expected one object a line, for example "
                f'{{"text": "...", "label": "..."}}, or an array of such.{what} With pandas: '
                'data.to_json(path, orient="records", lines=True).'
            )
        if self._num_commas:
            notes.append(
                f"{self._num_commas:,} of the first {self._num_lines:,} lines end with a comma "
                "after their object, as in an array; it is passed over."
            )
        self._table = unfold_table(alone) if alone is not None and first is None else None
        if self._table is not None:
            collected = ColumnPaths()
            for row in self._table[:_ROWS_WITH_NAMES]:
                collected.add(row)
            notes.append("The file is one object that holds a table: row 1 is its first row.")
        paths = collected.finish()
        check_column_names(list(paths), self._path)
        if collected.unfolded:
            listed = ", ".join(map(repr, collected.unfolded[:5]))
            example = next(name for name, path in paths.items() if len(path) > 1)
            notes.append(
                f"What is inside of the objects in {listed} is read as columns such as "
                f"{example!r}; of a list of objects, that of the first three."
            )
        return paths

    def _parse(self) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
        if self._table is not None:
            yield from enumerate(self._table, 1)
        elif self._form == "lines":
            self._num_lines = self._num_commas = 0
            for number, line in enumerate(read_lines(self._path, self._encoding), 1):
                if line.strip():
                    self._num_lines += 1
                    self._num_commas += line[-4:].rstrip().endswith("},")
                    yield number, _parse_line(number, line)
        else:
            for number, found in enumerate(read_values(self._path, self._encoding), 1):
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
