"""Workbooks of Excel: the rows of one sheet, with the values that its formulas had when saved.

Read by openpyxl, row by row; macros are never looked at. What it passes over is found in the
sheet's own XML: merged cells, and formulas that no program has computed.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from relabel.archives import DAMAGED_ZIP, UnsafeArchiveError, bound_unpacked, open_zip
from relabel.importers.columns.values import show
from relabel.importers.options import ImportOptions
from relabel.importers.readers.csv import (
    MAX_FIELD,
    check_header,
    complete_header,
    fit_given_names,
    has_given_names,
    spell_as_given,
)
from relabel.importers.records import (
    MAX_COLUMNS,
    Problem,
    Row,
    Schema,
    check_column_names,
    row_problem,
)
from relabel.text import counted
from tracin_core.errors import InputError

if TYPE_CHECKING:
    from openpyxl import Workbook

_SMALL = 256 * 2**20  # bytes that a workbook may always unpack to; its texts lie in memory
_MAX_ROWS = 1_048_576  # as Excel has them; a number beyond would be counted to for ever
_SAMPLE = 100  # rows in which names and the width are looked for
_AT_ONCE = 256  # rows
_CHUNK = 2**20  # bytes
_LARGEST_PIECE = 8 * _CHUNK  # of XML without the end of a row
_MAX_MARKS = 100_000
_MISSING = "#N/A"
_PROTECTED = (
    b"\xd0\xcf\x11\xe0"  # a container of Microsoft's, which holds a workbook with a password
)
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]+)(\d+):[A-Z]+(\d+)"')
_NOT_COMPUTED = re.compile(
    rb'<(?:\w+:)?c\s[^>]*?\br="([A-Z]+)(\d+)"[^>]*>\s*<(?:\w+:)?f\b[^>]*(?:/>|>[^<]*</(?:\w+:)?f>)'
    rb"\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
_INSTEAD = "Save the sheet as CSV, or the workbook once more as .xlsx."


@dataclass
class _Marks:
    """What a sheet's XML says of cells.

    Attributes:
        merged: By the row in which they begin: the column and the last row, counted from 1.
        not_computed: Rows and columns of formulas without a value.
    """

    merged: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    not_computed: set[tuple[int, int]] = field(default_factory=set)


class _SheetError(str):
    """What a cell shows instead of a value, such as #REF!."""


def is_workbook(path: Path) -> bool:
    """Return whether a file is a workbook, whatever it is called."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with open_zip(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (UnsafeArchiveError, zipfile.BadZipFile, NotImplementedError):
        return False


class ExcelReader:
    """Rows of one sheet; the first row with several cells names the columns.

    Attributes:
        path: Of the workbook.
        sheet: Name of the sheet.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        """Choose the sheet and find its columns.

        Raises:
            InputError: If there is no such sheet, it is empty, or the file cannot be read.
        """
        self.path = path
        self.name, self.folder = path.name, path.parent
        _check_readable(path)
        notes: list[str] = []
        with _open_workbook(path) as book:
            self.sheet = _choose_sheet(book, options.sheet, path, notes)
            # The name of the sheet's own file is known to the library alone.
            member = book[self.sheet]._worksheet_path
        with _translate_errors(path):
            self._marks = _find_marks(path, member)
        sample = [one for one in islice(self._read_cells(), _SAMPLE) if not _is_empty(one[1])]
        names = self._find_names(sample, options, notes)
        check_column_names(names, path)
        if merged := sum(map(len, self._marks.merged.values())):
            notes.append(
                f"{counted(merged, 'group')} of merged cells: the value counts in each of the rows."
            )
        self.schema = Schema(columns=tuple(names), typed=True, notes=tuple(notes))

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows, numbered as the program shows them; empty ones are passed over."""
        places = {name: self.schema.columns.index(name) for name in columns}
        width = len(self.schema.columns)
        for number, cells in self._fill_merged():
            if number < self._begins or _is_empty(cells[:width]):
                continue
            cells = (*cells[:width], *(None,) * (width - len(cells)))
            yield self._check_row(number, cells, places) or Row(
                number, [cells[place] for place in places.values()]
            )

    def _check_row(
        self, number: int, cells: Sequence[Any], places: dict[str, int]
    ) -> Problem | None:
        for name, place in places.items():
            value = cells[place]
            if isinstance(value, _SheetError):
                return row_problem(
                    number,
                    f"Column {name!r} shows the error {value}, expected a value. Correct the "
                    "formula, or what it refers to.",
                    "an error of a formula",
                )
            if value is None and (number, place + 1) in self._marks.not_computed:
                return row_problem(
                    number,
                    f"Column {name!r} holds a formula that was saved without its value, and none "
                    "is computed here. Open the file in a spreadsheet program and save it there.",
                    "a formula without a value",
                )
            if isinstance(value, str) and len(value) > MAX_FIELD:
                return row_problem(
                    number,
                    f"A cell has {len(value):,} characters, expected at most {MAX_FIELD:,}. Cut "
                    "it, or split it into several rows.",
                    "cell too long",
                )
        return None

    def _find_names(
        self, sample: list[tuple[int, tuple[Any, ...]]], options: ImportOptions, notes: list[str]
    ) -> list[str]:
        """Return the columns' names, and remember from which row on there are examples."""
        if not sample:
            raise InputError(
                f"The sheet {self.sheet!r} of {self.path} is empty. Expected a row of names, and "
                "rows below it. Name another sheet with --sheet."
            )
        widths = [sum(not _is_empty([cell]) for cell in cells) for _, cells in sample]
        first = next((place for place, width in enumerate(widths) if width > 1), 0)
        rows = _to_texts([cells for _, cells in sample[first:]])
        self._begins = sample[first][0] + 1
        if options.columns is not None and not has_given_names(rows[0], options.columns):
            self._begins -= 1
            return fit_given_names(options.columns, rows, self.path, notes)
        header = rows[0] if options.columns is None else spell_as_given(rows[0], options.columns)
        names = complete_header(header, rows[1:], notes)
        if len(names) == 1:
            raise InputError(
                f"The sheet {self.sheet!r} of {self.path} has 1 column: its first row is "
                f"{show(names[0])}. Expected at least two: the input and what is to be predicted. "
                "Name another sheet with --sheet."
            )
        check_header(names, rows[0], rows[1:], self.path)
        if first:
            notes.append(
                f"Row {sample[first][0]} has the columns' names; what stands above is left out."
            )
        return names

    def _fill_merged(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield the rows, the value of cells that are merged downwards in each of theirs."""
        going: dict[int, tuple[int, Any]] = {}
        for number, cells in self._read_cells():
            for column, last in self._marks.merged.get(number, ()):
                going[column] = (last, cells[column - 1] if column <= len(cells) else None)
            if not going or _is_empty(cells):
                yield number, cells
                continue
            filled = list(cells)
            for column, (last, value) in list(going.items()):
                if number > last:
                    del going[column]
                elif column <= len(filled) and filled[column - 1] is None:
                    filled[column - 1] = value
            yield number, tuple(filled)

    def _read_cells(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield the values of all rows with their numbers."""
        with _open_workbook(self.path) as book:
            sheet = book[self.sheet]
            # What the file says of its size is often wrong.
            sheet.reset_dimensions()
            rows = islice(sheet.iter_rows(max_col=MAX_COLUMNS + 1), _MAX_ROWS)
            number = 0
            while True:
                with _translate_errors(self.path):
                    chunk = [tuple(map(_read_cell, row)) for row in islice(rows, _AT_ONCE)]
                if not chunk:
                    return
                for cells in chunk:
                    number += 1
                    yield number, cells


def _read_cell(cell: Any) -> Any:
    value = cell.value
    if cell.data_type == "e":
        return None if value == _MISSING else _SheetError(value)
    return str(value) if isinstance(value, timedelta) else value


def _is_empty(cells: Sequence[Any]) -> bool:
    return all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in cells)


def _to_texts(rows: Sequence[tuple[Any, ...]]) -> list[list[str]]:
    """Return rows as a text file would have them, all as wide as the widest."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    width = max((n for row in texts for n, cell in enumerate(row, 1) if cell.strip()), default=0)
    return [[*row[:width], *[""] * (width - len(row))] for row in texts]


def _check_readable(path: Path) -> None:
    """Check that there is a program to read it with, and that it is no bomb.

    Raises:
        InputError: If not.
    """
    if find_spec("openpyxl") is None:
        raise InputError(
            f"{path} is a workbook of Excel, which openpyxl reads, and that is not installed. "
            "Install it: pip install 'tracin-relabel[excel]'. Save the sheet as CSV if that cannot "
            "be."
        )
    with path.open("rb") as file:
        start = file.read(len(_PROTECTED))
    if start == _PROTECTED:
        raise InputError(
            f"{path} has a password, or is of Excel 2003 and older, expected an open workbook "
            f"(.xlsx). Open it in a spreadsheet program. {_INSTEAD}"
        )
    with _translate_errors(path), open_zip(path) as archive:
        needed = sum(one.file_size for one in archive.infolist())
    largest = bound_unpacked(path.stat().st_size, _SMALL)
    if needed > largest:
        raise InputError(
            f"{path} unpacks to {needed / 2**20:,.0f} MB, expected at most "
            f"{largest / 2**20:,.0f} MB for its size: a file like this is made to fill the memory. "
            "If it is sound, save the sheet as CSV."
        )


@contextmanager
def _open_workbook(path: Path) -> Iterator[Workbook]:
    from openpyxl import load_workbook

    # Open, because the library asks the name of a path for its ending.
    with path.open("rb") as file:
        with _translate_errors(path):
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        yield book


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Say what a damaged file means; the library answers with whatever it stumbles over."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (MemoryError, InputError):
        raise
    except (
        *(*DAMAGED_ZIP, zipfile.LargeZipFile, ParseError),
        *(LookupError, ValueError, TypeError, AttributeError, OSError, ArithmeticError),
    ) as error:
        found = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path} cannot be read: {found}. Expected a workbook of Excel (.xlsx). {_INSTEAD}"
        ) from error


def _choose_sheet(book: Workbook, wanted: str | None, path: Path, notes: list[str]) -> str:
    """Return the name of the sheet that was named, or of the first that is shown and is a table.

    A table has two columns at least: a sheet of notes often stands before it.
    """
    sheets = list(book.worksheets)
    names = [str(sheet.title) for sheet in sheets]
    if wanted is not None and wanted not in names:
        raise InputError(
            f"{path} has no sheet called {wanted!r}. Expected one of: "
            f"{', '.join(map(repr, names[:20]))}. Correct --sheet."
        )
    if not sheets:
        raise InputError(f"{path} has no sheet with cells. {_INSTEAD}")
    chosen = wanted
    if chosen is None:
        shown = [sheet for sheet in sheets if sheet.sheet_state == "visible"] or sheets
        with _translate_errors(path):
            # Of none that is a table the first that holds anything, whose message says why.
            widest = next((sheet for sheet in shown if _is_wide(sheet, 2)), None)
            filled = (sheet for sheet in shown if _is_wide(sheet, 1))
            chosen = str((widest or next(filled, shown[0])).title)
    others = [name for name in names if name != chosen]
    if others:
        more = ", ..." if len(others) > 5 else ""
        notes.append(
            f"The sheet {chosen!r} is read, and not: {', '.join(map(repr, others[:5]))}{more}. "
            "--sheet says otherwise."
        )
    return chosen


def _is_wide(sheet: Any, width: int) -> bool:
    """Return whether one of the first rows has so many cells with something in them."""
    sheet.reset_dimensions()
    rows = islice(sheet.iter_rows(max_col=MAX_COLUMNS + 1), _SAMPLE)
    return any(sum(not _is_empty([_read_cell(cell)]) for cell in row) >= width for row in rows)


def _find_marks(path: Path, member: str) -> _Marks:
    """Return what is said of cells in a sheet's XML, read piece by piece, each to a row's end."""
    marks, piece = _Marks(), b""
    with open_zip(path) as archive, archive.open(member.removeprefix("/")) as file:
        while chunk := file.read(_CHUNK):
            piece += chunk
            end = piece.rfind(b"row>") + 4
            if end > 3 or len(piece) > _LARGEST_PIECE:
                end = end if end > 3 else len(piece)
                _add_marks(marks, piece[:end])
                piece = piece[end:]
        _add_marks(marks, piece)
    return marks


def _add_marks(marks: _Marks, piece: bytes) -> None:
    for column, first, last in _MERGED.findall(piece):
        if int(last) > int(first) and len(marks.merged) < _MAX_MARKS:
            marks.merged.setdefault(int(first), []).append((_number_of(column), int(last)))
    for column, row in _NOT_COMPUTED.findall(piece):
        if len(marks.not_computed) < _MAX_MARKS:
            marks.not_computed.add((int(row), _number_of(column)))


def _number_of(column: bytes) -> int:
    """Return the number of a column, counted from 1: 27 for AA."""
    number = 0
    for letter in column:
        number = number * 26 + letter - ord("A") + 1
    return number
