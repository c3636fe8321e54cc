"""Profiles of a table's columns, made from the first rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from relabel.importers.columns.values import (
    RefusedError,
    holds_image,
    is_missing,
    read_name,
    read_number,
    show,
)
from relabel.importers.records import Problem, RowReader

PROFILED_ROWS = 20_000
_MAX_DISTINCT = 5_000  # distinct values remembered; more of them are "many"
_NUMBER_SHARE = 0.9  # a column is one of numbers if so many of its values are
_SHOWN = 4
_IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".heic", ".heif", ".avif"),
}
_OTHER_SUFFIXES = {
    *(".txt", ".md", ".html", ".htm", ".xml", ".json", ".pdf", ".doc", ".docx", ".eml"),
    *(".wav", ".mp3", ".flac", ".ogg", ".m4a", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".npy"),
}
# Ten numbers and more with blanks or commas between, as pictures and vectors are written.
_VECTOR = re.compile(r"[\s\[(]*([-+.\de]+[\s,;]+){9,}[-+.\de]*[\])\s]*", re.IGNORECASE)


@dataclass
class Profile:
    """One column in the first rows.

    Attributes:
        name: Of the column.
        present: Rows where it has a value.
        numbers: Rows where that is a number.
        fractions: Rows where that has a fractional part.
        points: Rows where it is written as a whole number with a point, as 3.0 is.
        strings: Rows where it is text that is no number.
        image_names: Rows where it ends like an image's file name, or is an image itself.
        encoded: Rows where it is an image itself.
        addresses: Rows where it is an address of the web.
        vectors: Rows where it is a text of many numbers and nothing else.
        file_names: Rows where it ends like the name of a text, a sound or a film.
        nested: Rows where it is a list, an object or bytes.
        singles: Rows where it is a list of one name, or an empty one.
        characters: Of all texts together.
        blanks: Of all texts together.
        worded: Texts with a blank or a foreign letter in them.
        distinct: Different values, at most ``_MAX_DISTINCT``; numbers by their value.
        examples: The first different ones, to be shown.
        low, high: Of the numbers.
        steps: Numbers that are larger by one than the one before.
        word: The first text that is no number.
    """

    name: str
    present: int = 0
    numbers: int = 0
    fractions: int = 0
    points: int = 0
    strings: int = 0
    image_names: int = 0
    encoded: int = 0
    addresses: int = 0
    vectors: int = 0
    file_names: int = 0
    nested: int = 0
    singles: int = 0
    characters: int = 0
    blanks: int = 0
    worded: int = 0
    distinct: set[Any] = field(default_factory=set)
    examples: list[str] = field(default_factory=list)
    low: float = float("inf")
    high: float = float("-inf")
    steps: int = 0
    word: str = ""
    _last: float | None = None

    def add(self, value: Any) -> None:
        """Count one cell."""
        if is_missing(value):
            return
        self.present += 1
        if isinstance(value, list | dict | bytes):
            self._add_nested(value)
            return
        self.points += isinstance(value, str | float) and str(value).strip().endswith(".0")
        try:
            number = read_number(value)
        except ValueError:
            self._add_string(str(value))
            seen: Any = str(value).strip()
        else:
            self._add_number(number)
            seen = number
        if len(self.distinct) < _MAX_DISTINCT and seen not in self.distinct:
            self.distinct.add(seen)
            if len(self.examples) < _SHOWN:
                self.examples.append(show(value)[1:-1])

    @property
    def is_number(self) -> bool:
        """Return whether nearly all values are numbers."""
        return self.numbers > 0 and self.numbers >= _NUMBER_SHARE * self.present

    @property
    def is_fraction(self) -> bool:
        """Return whether the numbers are measured rather than counted."""
        return self.is_number and self.fractions > 0

    @property
    def is_image_path(self) -> bool:
        """Return whether the values are names of image files."""
        return self.image_names > 0 and self.image_names >= 0.8 * self.present

    @property
    def is_file_name(self) -> bool:
        """Return whether the values are names of files that are no pictures."""
        return self.file_names > 0 and self.file_names >= 0.8 * self.present

    @property
    def is_address(self) -> bool:
        """Return whether the values are addresses of the web."""
        return self.addresses > 0 and self.addresses >= 0.8 * self.present

    @property
    def mean_length(self) -> float:
        """Return the mean number of characters of the texts."""
        return self.characters / self.strings if self.strings else 0.0

    @property
    def is_prose(self) -> bool:
        """Return whether the values are texts to be read, rather than names."""
        different = len(self.distinct) > max(self.strings // 2, 1)
        return self.strings > self.present // 2 and self.mean_length >= 30 and different

    @property
    def is_identifier(self) -> bool:
        """Return whether (nearly) every row has a value of its own that is no measure."""
        alike = len(self.distinct) >= min(0.95 * self.present, _MAX_DISTINCT)
        return self.present >= 20 and alike and not self.is_fraction

    @property
    def is_counter(self) -> bool:
        """Return whether the numbers go up by one from row to row, as those of an index do."""
        return self.numbers >= 20 and self.steps == self.numbers - 1 and not self.strings

    @property
    def is_class_like(self) -> bool:
        """Return whether few different values occur again and again."""
        return 2 <= len(self.distinct) <= 20 and self.present >= 5 * len(self.distinct)

    @property
    def is_choice(self) -> bool:
        """Return whether the values are lists of one name at most, as choices are written."""
        return self.singles == self.present > 0 and bool(self.distinct)

    def _add_nested(self, value: Any) -> None:
        self.nested += 1
        if isinstance(value, bytes) and holds_image(value):
            self.encoded += 1
            self.image_names += 1
        if not isinstance(value, list) or len(value) > 1:
            return
        if value and not isinstance(value[0], str | int):
            return
        self.singles += 1
        if value and len(self.distinct) < _MAX_DISTINCT and value[0] not in self.distinct:
            self.distinct.add(value[0])
            if len(self.examples) < _SHOWN:
                self.examples.append(show(value[0])[1:-1])

    def _add_number(self, number: float | None) -> None:
        if number is None:
            self.present -= 1  # a word such as NA
            return
        self.numbers += 1
        self.fractions += number != int(number)
        self.steps += self._last is not None and number == self._last + 1
        self._last = number
        self.low, self.high = min(self.low, number), max(self.high, number)

    def _add_string(self, text: str) -> None:
        self.strings += 1
        self.word = self.word or text
        self.characters += len(text)
        blanks = text.count(" ")
        self.blanks += blanks
        self.worded += blanks > 0 or not text.isascii()
        self.addresses += text.lstrip()[:8].lower().startswith(("http://", "https://"))
        self.vectors += _VECTOR.fullmatch(text[:400]) is not None
        if holds_image(text):
            self.encoded += 1
            self.image_names += 1
        elif len(text) < 500:
            suffix = PurePosixPath(text.strip()).suffix.lower()
            self.image_names += suffix in _IMAGE_SUFFIXES
            self.file_names += suffix in _OTHER_SUFFIXES


@dataclass
class TableProfile:
    """All columns in the first rows, those rows, and whether there are no more.

    ``problem`` is the first row that could not be read, of ``num_problems``; beside ``num_rows``.
    """

    columns: dict[str, Profile]
    rows: list[Sequence[Any]]
    is_whole: bool
    problem: Problem | None = None
    num_problems: int = 0
    num_rows: int = 0

    def pairs(self, first: str, second: str) -> list[tuple[str, str]]:
        """Return two columns' values by row, as names, where both have one."""
        places = [list(self.columns).index(name) for name in (first, second)]
        found = (tuple(name_value(row[place]) for place in places) for row in self.rows)
        return [(a, b) for a, b in found if a and b]


def profile_table(reader: RowReader, num_rows: int = PROFILED_ROWS) -> TableProfile:
    """Read the first rows and describe every column."""
    names = [name for name in reader.schema.columns if name not in reader.schema.image_columns]
    profiles = {name: Profile(name) for name in names}
    kept: list[Sequence[Any]] = []
    problem: Problem | None = None
    num_problems = num_read = 0
    found = reader.read_rows(names)
    for row in islice(found, num_rows):
        if isinstance(row, Problem):
            problem = problem or row
            num_problems += row.refused
            continue
        num_read += 1
        for name, value in zip(names, row.values, strict=True):
            profiles[name].add(value)
        if len(kept) < 2000:
            kept.append([_shortened(value) for value in row.values])
    is_whole = next(found, None) is None
    return TableProfile(profiles, kept, is_whole, problem, num_problems, num_read)


def read_names(reader: RowReader, column: str) -> set[str]:
    """Return all values of a column that has few of them, as names; data is often sorted."""
    names: set[str] = set()
    for row in reader.read_rows([column]):
        if not isinstance(row, Problem) and len(names) < _MAX_DISTINCT:
            names.add(name_value(row.values[0]))
    return names - {""}


def _shortened(value: Any) -> Any:
    """Long texts are kept for comparison only, by their beginning and length."""
    return (value[:100] + str(len(value))) if isinstance(value, str) and len(value) > 100 else value


def name_value(value: Any) -> str:
    """Return a value as the name of a class; "" if it can be none."""
    try:
        return read_name(value)
    except RefusedError:
        return ""
