"""From a cell to the name of a class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tracin_core.sources.values import MAX_NAME, RefusedError, check_text, read_name, show

ReadLabel = Callable[[Any], str]


def make_label_reader(
    names: Sequence[str] | None,
    *,
    by_index: bool,
    column: str,
    missing: Collection[str] = (),
) -> ReadLabel:
    """Return the function that names the class of a cell.

    Args:
        names: The classes, if they are known beforehand.
        by_index: Whether cells hold numbers that are to be looked up in ``names``.
        column: For the messages.
        missing: Words, in small letters, that say that there is no label.

    Returns:
        A function that raises ``RefusedError`` for a cell without a usable class.
    """
    known = frozenset(names or ())

    def read(value: Any) -> str:
        is_none = isinstance(value, str) and value.strip().lower() in missing
        label = _read_plain("" if is_none else value, column)
        if names is None or (not by_index and label in known):
            return label
        if by_index:
            return _look_up(label, names, column)
        raise RefusedError(
            "unknown class",
            f"The label {show(label)} is none of the {len(names)} classes that were named. Add "
            "it to --classes, or correct it.",
        )

    return read


def looks_like_indices(labels: Iterable[str], names: Sequence[str]) -> bool:
    """Tell whether labels are numbers into a list of names, rather than such names."""
    found = [label for label in labels if label]
    known = sum(label in names for label in found)
    return known < len(found) / 2 and all(label.lstrip("+-").isdecimal() for label in found)


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in a fixed order: numbers by value, then words by alphabet."""

    def place(name: str) -> tuple[int, float, str]:
        try:
            return 0, float(name), name
        except ValueError:
            return 1, 0.0, name

    return tuple(sorted(names, key=place))


def _read_plain(value: Any, column: str) -> str:
    try:
        label = read_name(value)
    except RefusedError as error:
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


def _look_up(label: str, names: Sequence[str], column: str) -> str:
    if not label.lstrip("+-").isdecimal() or not 0 <= int(label) < len(names):
        raise RefusedError(
            "unknown class",
            f"The label {show(label)} in column {column!r} is no whole number from 0 to "
            f"{len(names) - 1}, as the {len(names)} class names ask for. Correct it, or name "
            "more classes with --classes.",
        )
    return names[int(label)]
