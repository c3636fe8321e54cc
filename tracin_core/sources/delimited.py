"""CSV and TSV files, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tracin_core.numerals import counted
from tracin_core.sources.csv_rows import parse_rows
from tracin_core.sources.dialects import find_heading
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import Row, Schema, row_problem
from tracin_core.sources.text_encoding import find_encoding, read_lines
from tracin_core.sources.written_numbers import read_written


class DelimitedReader:
    """Rows of a CSV or TSV file, gzip or not."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path = path
        self.name, self.folder = path.name, path.parent
        found = None if options.encoding else find_encoding(path)
        self._encoding = options.encoding or (found.name if found else "utf-8")
        notes = (found.note,) if found and found.note else ()
        lines = read_lines(path, self._encoding)
        self._heading = find_heading(lines, path, options.delimiter, options.columns)
        self.schema = Schema(columns=self._heading.names, notes=(*notes, *self._heading.notes))

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows; one with too few or too many fields is a problem."""
        width, names = len(self.schema.columns), list(self.schema.columns)
        places = [self.schema.columns.index(name) for name in columns]
        lines = islice(read_lines(self._path, self._encoding), self._heading.skipped, None)
        rows = parse_rows(lines, self._heading.dialect)
        for number, fields in islice(rows, self._heading.num_before, None):
            if isinstance(fields, Problem):
                yield fields
            elif fields[:1] == names[:1] and [field.strip() for field in fields] == names:
                yield row_problem(
                    number,
                    "It holds the names of the columns again, as where several files were written "
                    "one after the other. It is no example; take it out of the file.",
                    "row of names again",
                )
            elif len(fields) == width:
                for place, decimal in self._heading.written.items():
                    fields[place] = read_written(fields[place], decimal) or fields[place]
                yield Row(number, [fields[place] for place in places])
            elif fields:  # an empty line is no row
                yield row_problem(
                    number,
                    f"It has {counted(len(fields), 'field')}, expected {width} as there are "
                    "columns. Put "
                    "fields that contain the delimiter or a line break into double quotes.",
                    "wrong number of fields",
                )
