"""From a cell to the name of a class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tracin_core.sources.name_forms import NameForm
from tracin_core.sources.values import MAX_NAME, RefusedError, check_text, show

_PLAIN = NameForm()
ReadLabel = Callable[[Any], str]


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
    """Tell whether labels are numbers into a list of names, rather than such names."""
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
