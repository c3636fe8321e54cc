"""What a person should know about the roles that were given to columns."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote

from tracin_core.sources.column_names import TRUTH_NAMES, normalise
from tracin_core.sources.profiles import Profile, TableProfile
from tracin_core.sources.records import Column
from tracin_core.sources.rows import Schema
from tracin_core.sources.values import show

_MANY_NUMBERS = 50  # a label of more different whole numbers may be a measure
_FEW_NUMBERS = 10  # so may one of fewer, if most rows have one of their own


def note_left_out(columns: Iterable[Column], kind: str) -> list[str]:
    """Tell of the columns that are left out, and why."""
    notes = [f"Column {c.name!r}: {c.role}." for c in columns if c.role.startswith("left out: ")]
    truths = [c.name for c in columns if c.role == "left out" and normalise(c.name) in TRUTH_NAMES]
    if kind != "table" and truths:
        notes.append(
            f"Column {truths[0]!r} is called like the truth; --truth {quote(truths[0])} uses it "
            "for evaluation, and for nothing else."
        )
    return notes


def note_words(columns: Iterable[Column], profile: TableProfile) -> list[str]:
    """Tell of inputs that would be numbers but for some words."""
    return [
        f"Column {column.name!r} holds numbers in {found.numbers:,} of {found.present:,} rows, and "
        f"words such as {show(found.word)}; so it is read as names. If the words mean that a "
        "number is missing, empty those cells."
        for column in columns
        if column.role == "feature" and column.kind == "category"
        if 2 * (found := profile.columns[column.name]).numbers > found.present
    ]


def note_more_images(images: Iterable[str], image: str) -> list[str]:
    """Tell of other columns of pictures, beside the one that is used."""
    others = [repr(name) for name in images if name != image]
    if not others:
        return []
    hold = "Column {} holds pictures too" if len(others) == 1 else "Columns {} hold pictures too"
    return [f"{hold.format(', '.join(others[:5]))}; one is used, which --image names."]


def suggest_regression(schema: Schema, profile: Profile, notes: list[str]) -> None:
    """Ask whether a label of many numbers is rather a measure."""
    different = len(profile.distinct)
    often = different >= _FEW_NUMBERS and 2 * different > profile.present
    many = profile.is_number and (different > _MANY_NUMBERS or often)
    if many and profile.name not in schema.class_names:
        notes.append(
            f"The column {profile.name!r} has many different numbers. If it measures something, "
            f"predict the number instead of classes: --target {quote(profile.name)}"
        )
