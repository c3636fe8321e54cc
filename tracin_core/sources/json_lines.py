"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tracin_core.errors import InputError
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import MAX_COLUMNS, Row, Schema, check_column_names, row_problem
from tracin_core.sources.text_encoding import find_encoding, read_lines

# Enough to meet every column of a table whose objects leave empty ones out.
_ROWS_WITH_NAMES = 10_000
_MAX_NAMES = 10 * MAX_COLUMNS


class JsonLinesReader:
    """Rows of a JSON lines file, gzip or not; keys are the columns."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path = path
        self.name, self.folder = path.name, path.parent
        found = None if options.encoding else find_encoding(path)
        self._encoding = options.encoding or (found.name if found else "utf-8")
        notes = (found.note,) if found and found.note else ()
        self.schema = Schema(columns=self._find_columns(), typed=True, notes=notes)

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows; what a row leaves out is None."""
        for number, found in self._parse():
            if isinstance(found, Problem):
                yield found
            else:
                yield Row(number, [found.get(name) for name in columns])

    def _find_columns(self) -> tuple[str, ...]:
        names: dict[str, None] = {}
        first = None
        for _, found in islice(self._parse(), _ROWS_WITH_NAMES):
            if isinstance(found, Problem):
                first = first or found
            else:
                names.update(dict.fromkeys(found))
                if len(names) > _MAX_NAMES:
                    break  # far more than can be used, which is said below
        if not names:
            what = f" In {first.where}: {first.message}" if first else ""
            raise InputError(
                f"{self._path} holds no JSON objects. Expected one object a line, for example "
                f'{{"text": "...", "label": "..."}}.{what} With pandas: '
                'data.to_json(path, orient="records", lines=True).'
            )
        check_column_names(list(names), self._path)
        return tuple(names)

    def _parse(self) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
        for number, line in enumerate(read_lines(self._path, self._encoding), 1):
            if line.strip():
                yield number, _parse_line(number, line)


def _parse_line(number: int, line: str) -> dict[str, Any] | Problem:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return row_problem(
            number, f"It is no JSON: {error}. Expected one object a line.", "not JSON"
        )
    if isinstance(found, dict):
        return found
    return row_problem(
        number,
        f"It holds {type(found).__name__}, expected an object such as "
        '{"text": "...", "label": "..."}.',
        "not an object",
    )
