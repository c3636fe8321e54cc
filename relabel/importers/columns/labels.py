"""Read cells as the names of classes, and as keys.

How the cells of a column are read (``NameForm``) is decided by all of them: 1.0 beside 2 is a
whole number, "[3]" a list of one.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from shlex import quote
from typing import Any

from relabel.importers.columns.profiles import TableProfile
from relabel.importers.columns.values import (
    MAX_NAME,
    MISSING_NUMBERS,
    RefusedError,
    check_text,
    is_missing,
    read_name,
    show,
)
from relabel.importers.options import join_names
from relabel.importers.records import Problem, RowReader

_POINT = re.compile(r"[+-]?\d+\.0+")
_WHOLE = re.compile(r"[+-]?\d+")
_LIST_SHARE = 0.9  # a column is one of lists if so many of its cells are written like one
_MAX_LIST = 10_000  # characters of a list in a cell
_SEPARATORS = "|;,/"
# "pos:0.95", "pos (87 %)", "0.95 pos", "{'pos': 0.9}"
_SCORED = re.compile(
    r"\{?['\"]?[^\d\W][^:=(]*?['\"]?\s*[:=(\s]\s*(0?\.\d+|1\.0+|\d{1,3}(\.\d+)?\s*%)\s*[)}]?"
    r"|(0?\.\d+|1\.0+|\d{1,3}(\.\d+)?\s*%)\s*[:=)\s]\s*[^\d\W].*"
)
ReadLabel = Callable[[Any], str]


@dataclass(frozen=True)
class NameForm:
    """How the cells of one column are read.

    Attributes:
        shortens: Whether 3.0 is 3, as where a program wrote whole numbers with a point because
            others were missing.
        lists: Whether texts such as ``["a"]`` are lists.
        days: Whether moments are days: all of them are midnights, which CSV writes without a time.
    """

    shortens: bool = True
    lists: bool = False
    days: bool = False

    def read(self, value: Any) -> str:
        """Return a cell as a name; "" where it is missing. A list of one name is that name.

        Raises:
            RefusedError: If it holds several names, or none that could be one.
        """
        if self.lists and isinstance(value, str):
            value = _parse_list(value)
        if isinstance(value, list):
            return self._read_list(value)
        if self.days and isinstance(value, datetime):
            value = value.date()
        return read_name(value, shortens=self.shortens)

    def _read_list(self, values: list[Any]) -> str:
        if any(isinstance(value, list | dict) for value in values):
            raise RefusedError(
                "no label",
                f"It holds {show(values)}: a list of lists or objects, such as marked passages or "
                "boxes. Expected one class for the whole example. Write it into a column of its "
                "own.",
            )
        names = list(dict.fromkeys(read_name(one, shortens=self.shortens) for one in values))
        if len(names) > 1:
            raise RefusedError(
                "several labels",
                f"It holds {len(names)} labels: {', '.join(map(show, names[:5]))}. Expected one "
                "class for each example. Choose one, or make a column for each label that says "
                "yes or no, and import it as a project of its own.",
            )
        return names[0] if names else ""


def find_form(
    reader: RowReader, profile: TableProfile, column: str, notes: list[str], *, is_key: bool = False
) -> NameForm:
    """Find out how the cells of a column are to be read, by all of them where that matters.

    Args:
        reader: Of the table.
        profile: Of its first rows.
        column: That is read.
        notes: Where what a person should know is added.
        is_key: Whether they name examples, two of which must not become one.
    """
    cells = profile.columns.get(column)
    if cells is None:
        return NameForm()
    place = list(profile.columns).index(column)
    # The keys of a project stay what they were, whatever they are read from.
    if not is_key and _are_days(row[place] for row in profile.rows):
        return NameForm(shortens=False, days=True)
    lists = _are_lists(row[place] for row in profile.rows)
    if lists:
        notes.append(
            f"Column {column!r} holds lists. Those of one name are read as that name; rows with "
            "several are left out, as each example has one class."
        )
    if not cells.points:
        # Then what comes with a point further down is a name of its own, which is told.
        return NameForm(shortens=False, lists=lists)
    points, wholes, others = _count_spellings(reader, column)
    large = next((name for name in points if abs(float(name)) >= 2**53), None)
    if large is not None:
        notes.append(
            f"Column {column!r} holds numbers such as {show(large)}, which are stored as fractions "
            "and too large to tell neighbours apart. Save the column as whole numbers or as text."
        )
    shown = [show(name) for name in (*list(points)[:1], *list(others)[:1])]
    if others:
        notes.append(
            f"Column {column!r} is read as it is written, not as numbers: {' beside '.join(shown)}."
        )
        return NameForm(shortens=False, lists=lists)
    both = [name for name in points if name.partition(".")[0] in wholes]
    if both and is_key:
        notes.append(
            f"Column {column!r} names examples by {show(both[0])} and also by "
            f"{show(both[0].partition('.')[0])}; these are taken for different ones."
        )
        return NameForm(shortens=False, lists=lists)
    if not both:
        one = next(iter(points))
        notes.append(
            f"Column {column!r} holds whole numbers with a point, as programs write them where "
            f"others are missing: {show(one)} is read as {show(one.partition('.')[0])}."
        )
    else:
        listed = ", ".join(
            f"{show(name)} ({points[name]:,}) is taken for {show(name.partition('.')[0])} "
            f"({wholes[name.partition('.')[0]]:,})"
            for name in both[:10]
        )
        notes.append(
            f"Column {column!r} has whole numbers with a point and without: {listed}. If they are "
            "different classes, write them as words, such as 'v1.0'."
        )
    return NameForm(lists=lists)


def note_several(counts: dict[str, int], column: str) -> list[str]:
    """Report class names that look like several names in one, or like a name with a number.

    Args:
        counts: Examples by class name.
        column: Their column.
    """
    notes = []
    for mark in _SEPARATORS:
        parts = {name: [part.strip() for part in name.split(mark)] for name in counts}
        several = {name for name, found in parts.items() if len(found) > 1 and all(found)}
        met = Counter(part for found in parts.values() for part in dict.fromkeys(found))
        joined = [name for name in several if all(met[part] > 1 for part in parts[name])]
        if joined:
            notes.append(
                f"{len(joined)} of the {len(counts)} class names in column {column!r} look like "
                f"several names with {mark!r} between: {_list_counts(counts, joined)}. Each is "
                "taken for a class of its own. If an example has several labels, choose one for "
                "each, or make a column for each label that says yes or no."
            )
            break
    scored = [name for name in counts if _SCORED.fullmatch(name)]
    if len(scored) > len(counts) // 2:
        notes.append(
            f"{len(scored)} of the {len(counts)} class names in column {column!r} end or begin "
            f"with a number such as a confidence: {_list_counts(counts, scored)}. Each is taken "
            "for a class of its own. Write the number into a column of its own."
        )
    return notes


def _list_counts(counts: dict[str, int], names: list[str]) -> str:
    shown = ", ".join(f"{show(name)} ({counts[name]:,})" for name in names[:5])
    return shown + (", …" if len(names) > 5 else "")


def note_missing(counts: dict[str, int], column: str) -> list[str]:
    """Report class names that may say that there is no label."""
    words = MISSING_NUMBERS | {"unlabeled", "unlabelled", "no label", "missing", "undefined"}
    found = [name for name in counts if name.casefold() in words]
    if not found or len(found) == len(counts):
        return []
    others = quote(join_names([name for name in counts if name not in found]))
    way_out = f"--classes {others}" if len(others) < 200 else "the others with --classes"
    return [
        f"Classes whose names may mean that there is no label: {_list_counts(counts, found)}. They "
        f"are taken as classes of column {column!r}. If they are none, empty those cells, or name "
        f"only the classes: {way_out}"
    ]


def _parse_list(text: str) -> Any:
    """Return the list that a text is, written as JSON or as Python does; else the text."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _MAX_LIST:
        return text
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else text
    return text


def _are_lists(cells: Iterable[Any]) -> bool:
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    lists = sum(isinstance(_parse_list(text), list) for text in texts)
    return bool(texts) and lists >= _LIST_SHARE * len(texts)


def _are_days(cells: Iterable[Any]) -> bool:
    moments = [cell for cell in cells if not is_missing(cell)]
    return bool(moments) and all(
        isinstance(cell, datetime) and cell.tzinfo is None and cell.time() == time()
        for cell in moments
    )


def _count_spellings(
    reader: RowReader, column: str
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count the names of a column: whole numbers with a point, without, and all others."""
    points: Counter[str] = Counter()
    wholes: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for row in reader.read_rows([column]):
        if isinstance(row, Problem) or is_missing(row.values[0]):
            continue
        value = row.values[0]
        if not isinstance(value, str | int | float | Decimal):
            continue
        name = str(value).strip()
        if name.lower() in MISSING_NUMBERS:
            continue
        kind = points if _POINT.fullmatch(name) else wholes if _WHOLE.fullmatch(name) else others
        kind[name] += 1
    return points, wholes, others


_PLAIN = NameForm()


def make_label_reader(
    names: Sequence[str] | None,
    *,
    first: int | None,
    column: str,
    missing: Collection[str] = (),
    form: NameForm = _PLAIN,
) -> ReadLabel:
    """Return the function that names the class of a cell.

    Args:
        names: The classes, if they are known beforehand.
        first: The number of the first of ``names``, where cells hold numbers into them; None
            where they hold names.
        column: For the messages.
        missing: Words, in small letters, that say that there is no label.
        form: How cells are read as names.

    Returns:
        A function that raises ``RefusedError`` for a cell without a usable class.
    """
    known = frozenset(names or ())

    def read(value: Any) -> str:
        is_none = isinstance(value, str) and value.strip().lower() in missing
        label = _read_plain("" if is_none else value, column, form)
        if names is None or (first is None and label in known):
            return label
        if first is not None:
            return _look_up(label, names, first, column)
        raise RefusedError(
            "unknown class",
            f"The label {show(label)} is none of the {len(names)} classes that were named. Add "
            "it to --classes, or correct it.",
        )

    return read


def looks_like_indices(labels: Iterable[str], names: Sequence[str]) -> bool:
    """Return whether labels are numbers into a list of names, rather than such names."""
    found = [label for label in labels if label]
    known = sum(label in names for label in found)
    return known < len(found) / 2 and all(label.lstrip("+-").isdecimal() for label in found)


def choose_first(
    labels: Collection[str], names: Sequence[str], said: int | None
) -> tuple[int, str]:
    """Return the number of the first class, 0 or 1, and what a person should know about it.

    Args:
        labels: All that there are, numbers into ``names``.
        names: The classes.
        said: What the person said, if anything.
    """
    if said is not None:
        return said, ""
    numbers = {int(label) for label in labels if label.lstrip("+-").isdecimal()}
    if 0 in numbers:
        return 0, ""
    first = int(len(names) in numbers)
    last = first + len(names) - 1
    counted = f"counted from {first}: {first} is {names[0]!r}, {last} is {names[-1]!r}"
    if first:
        return 1, f"Labels are {counted}. --first-class 0 says otherwise."
    return 0, (
        f"Neither 0 nor {len(names)} is among the labels, so they are taken as {counted}. "
        "--first-class 1 says otherwise."
    )


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in a fixed order: numbers by value, then words by alphabet."""

    def place(name: str) -> tuple[int, float, str]:
        try:
            return 0, float(name), name
        except ValueError:
            return 1, 0.0, name

    return tuple(sorted(names, key=place))


def _read_plain(value: Any, column: str, form: NameForm) -> str:
    try:
        label = form.read(value)
    except RefusedError as error:
        if isinstance(value, list) or form.lists:
            raise  # which says what is wrong with the list
        if isinstance(value, dict):
            raise RefusedError(
                "no label",
                f"The label in column {column!r} is an object, {show(value, 80)}, expected a name "
                "or a whole number. Give what is inside of it columns of their own; of a Parquet "
                "file: pq.write_table(pq.read_table(old).flatten(), new), with pyarrow.parquet "
                "as pq.",
            ) from error
        raise RefusedError(
            "no label",
            f"The label in column {column!r} is {show(value)}, expected a name or a whole number. "
            "Write one class into each cell.",
        ) from error
    if not label:
        raise RefusedError(
            "no label", f"The column {column!r} is empty there. Fill it in, or leave the row out."
        )
    check_text(label, f"The label in column {column!r}")
    if len(label) > MAX_NAME:
        raise RefusedError(
            "no label",
            f"The label has {len(label):,} characters, expected a class name of at most "
            f"{MAX_NAME}. Is {column!r} the right column? --label names another.",
        )
    return label


def _look_up(label: str, names: Sequence[str], first: int, column: str) -> str:
    if not label.lstrip("+-").isdecimal() or not 0 <= int(label) - first < len(names):
        raise RefusedError(
            "unknown class",
            f"The label {show(label)} in column {column!r} is no whole number from {first} to "
            f"{first + len(names) - 1}, as the {len(names)} class names ask for. Correct it, or "
            "name more classes with --classes.",
        )
    return names[int(label) - first]
