"""What makes a project and an example acceptable."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracin_core.errors import InputError
from tracin_core.terms import SPLITS

KINDS = ("image", "text", "table")
# Safe as a folder name on every system and in a URL.
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class NewExample:
    """An example to be added.

    Attributes:
        key: Name that stays the same when the data set is imported again.
        split: "train" or "test".
        position: 0-based index within the split: the row in every array of a run.
        given_label: Index into the project's classes.
        text: The text of a text example.
        media_path: Path of an image, relative to the project's media folder, with "/".
    """

    key: str
    split: str
    position: int
    given_label: int
    text: str | None = None
    media_path: str | None = None


def check_project(slug: str, kind: str, classes: tuple[str, ...]) -> None:
    """See that a project can be made.

    Raises:
        InputError: If a value is unusable.
    """
    if not SLUG.fullmatch(slug):
        raise InputError(
            f"Found the project name {slug!r}. Expected 1 to 64 lower-case letters, digits, '-' "
            "and '_', beginning with a letter or digit. Choose such a name."
        )
    if kind not in KINDS:
        raise InputError(f"Found the kind {kind!r}. Expected one of {', '.join(KINDS)}.")
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise InputError(
            f"Found {len(classes)} classes: {', '.join(map(repr, classes[:10]))}. Expected at "
            "least two, with different names that are not empty."
        )
    for name in classes:
        check_storable(name, f"The class name {name!r}")


def check_example(example: NewExample, num_classes: int) -> None:
    """See that an example can be added to a project.

    Raises:
        InputError: If a value is unusable.
    """
    name = f"Example {example.key!r}"
    if not example.key:
        raise InputError(
            f"The example at position {example.position} of the {example.split} split has an "
            "empty key. Expected a name of its own for each example."
        )
    if example.split not in SPLITS:
        raise InputError(f"{name} has the split {example.split!r}. Expected train or test.")
    if example.position < 0:
        raise InputError(f"{name} has position {example.position}. Expected 0 or more.")
    if not 0 <= example.given_label < num_classes:
        raise InputError(
            f"{name} has label {example.given_label}. Expected a class index from 0 to "
            f"{num_classes - 1}."
        )
    for value in (example.key, example.text, example.media_path):
        check_storable(value or "", name)
    if example.media_path is not None:
        _check_media_path(example.media_path, name)


def _check_media_path(path: str, name: str) -> None:
    parts = path.split("/")
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{name} has the media path {path!r}. Expected a relative path inside the project's "
            "media folder, with '/' between folders and without '..', '\\' or ':'."
        )


def check_storable(value: str, name: str) -> None:
    """See that both databases can hold a text.

    Raises:
        InputError: If it contains a NUL (which PostgreSQL refuses) or half a surrogate pair
            (which has no UTF-8).
    """
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(
            f"{name} contains a NUL character or a broken Unicode character. Expected plain "
            "text: remove or replace it."
        )
