"""What makes an example acceptable to its project."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tracin_core.errors import InputError
from tracin_core.reviews.project_rows import Project
from tracin_core.reviews.project_rules import check_storable
from tracin_core.terms import SPLITS

# One cell of a table's row.
FieldValue = float | int | str | None
# Characters of a place: a path of many folders, and little beside the example itself.
LONGEST_PLACE = 1000


@dataclass(frozen=True)
class NewExample:
    """An example to be added.

    Attributes:
        key: Name that stays the same when the data set is imported again.
        split: "train" or "test".
        position: 0-based index within the split: the row in every array of a run.
        given_label: Index into the project's classes; 0 for regression.
        text: The text of a text example.
        media_path: Path of an image, relative to the project's media folder, with "/".
        given_value: The number that the data claims, for regression only.
        fields: A table's row: column name to number, text or None, in the order of the columns.
        source_place: Where it is in the person's own data, in words or as a path there; None
            where that is not known.
    """

    key: str
    split: str
    position: int
    given_label: int = 0
    text: str | None = None
    media_path: str | None = None
    given_value: float | None = None
    fields: Mapping[str, FieldValue] | None = None
    source_place: str | None = None


class ExampleRules:
    """What an example of one project must be like."""

    def __init__(self, project: Project) -> None:
        """Take what the rules depend on out of the project."""
        self._num_classes = len(project.classes)
        self._is_regression = project.task == "regression"
        columns = project.settings.get("columns", ())
        self._kinds = {column["name"]: column["kind"] for column in columns}

    def check(self, example: NewExample) -> None:
        """See that an example can be added.

        Raises:
            InputError: If a value is unusable.
        """
        name = f"Example {example.key!r}"
        _check_place(example, name)
        if self._is_regression:
            _check_value(example, name)
        else:
            self._check_label(example, name)
        for value in (example.key, example.text, example.media_path, example.source_place):
            check_storable(value or "", name)
        if example.source_place is not None and len(example.source_place) > LONGEST_PLACE:
            raise InputError(
                f"{name} has a place in the data of {len(example.source_place):,} characters. "
                f"Expected at most {LONGEST_PLACE:,}: leave its beginning out."
            )
        if example.media_path is not None:
            _check_media_path(example.media_path, name)
        if example.fields is not None:
            self._check_fields(example.fields, name)

    def _check_label(self, example: NewExample, name: str) -> None:
        if not 0 <= example.given_label < self._num_classes:
            raise InputError(
                f"{name} has label {example.given_label}. Expected a class index from 0 to "
                f"{self._num_classes - 1}."
            )
        if example.given_value is not None:
            raise InputError(
                f"{name} has the value {example.given_value}. Expected a class index only: the "
                "project's task is classification."
            )

    def _check_fields(self, fields: Mapping[str, FieldValue], name: str) -> None:
        if self._kinds and fields.keys() != self._kinds.keys():
            odd = sorted(fields.keys() ^ self._kinds.keys())
            raise InputError(
                f"{name} has other columns than the project: {', '.join(map(repr, odd[:10]))}. "
                "Expected the same columns in every row; write None where a value is missing."
            )
        for column, value in fields.items():
            place = f"The column {column!r} of example {name.removeprefix('Example ')}"
            check_storable(column, place)
            if isinstance(value, str):
                check_storable(value, place)
            elif value is not None:
                _check_number(value, place)
            if isinstance(value, str) and self._kinds.get(column) == "number":
                raise InputError(
                    f"{place} holds the text {value[:80]!r}. Expected a number or None: the "
                    "project's column holds numbers."
                )


def _check_place(example: NewExample, name: str) -> None:
    if not example.key:
        raise InputError(
            f"The example at position {example.position} of the {example.split} split has an "
            "empty key. Expected a name of its own for each example."
        )
    if example.split not in SPLITS:
        raise InputError(f"{name} has the split {example.split!r}. Expected train or test.")
    if example.position < 0:
        raise InputError(f"{name} has position {example.position}. Expected 0 or more.")


def _check_value(example: NewExample, name: str) -> None:
    if example.given_value is None or not math.isfinite(example.given_value):
        raise InputError(
            f"{name} has the value {example.given_value}. Expected a finite number: the project's "
            "task is regression. Leave the example out or mend its number."
        )
    if example.given_label != 0:
        raise InputError(
            f"{name} has label {example.given_label}. Expected 0: for regression the value counts."
        )


def _check_number(value: object, place: str) -> None:
    """See that a cell is a number that JSON and a 64-bit float can hold."""
    try:
        usable = isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        usable = False
    if not usable or isinstance(value, bool):
        raise InputError(
            f"{place} holds {str(value)[:80]} of the type {type(value).__name__}. Expected a "
            "finite number, a text or None."
        )


def _check_media_path(path: str, name: str) -> None:
    parts = path.split("/")
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{name} has the media path {path!r}. Expected a relative path inside the project's "
            "media folder, with '/' between folders and without '..', '\\' or ':'."
        )
