"""What a person should know about the roles that were given to columns."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote

from tracin_core.sources.column_names import TRUTH_NAMES, guess_split, normalise
from tracin_core.sources.label_status import OR_SPLIT
from tracin_core.sources.name_lists import join_names
from tracin_core.sources.profiles import Profile, TableProfile
from tracin_core.sources.records import Column
from tracin_core.sources.rows import Schema
from tracin_core.sources.values import show

_MANY_NUMBERS = 50  # a label of more different whole numbers may be a measure
_MAX_SPLITS = 10  # parts of a data set
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


def note_no_texts(columns: Iterable[Column], profile: TableProfile) -> list[str]:
    """Tell of texts that are names of files, and of those some of which are pictures."""
    names = [
        f"Column {column.name!r} holds names of files, such as {show(found.word)}: what is in them "
        "is not read, and the names themselves are the texts."
        for column in columns
        if column.role == "text" and (found := profile.columns[column.name]).is_file_name
    ]
    return names + [
        f"{found.encoded:,} of the first {found.present:,} cells of column {column.name!r} are "
        "pictures written as letters, and are read as texts here. Leave those rows out, or "
        f"--image {quote(column.name)} takes the pictures alone."
        for column in columns
        if column.role == "text" and (found := profile.columns[column.name]).encoded
    ]


def note_more_images(images: Iterable[str], image: str) -> list[str]:
    """Tell of other columns of pictures, beside the one that is used."""
    others = [repr(name) for name in images if name != image]
    if not others:
        return []
    hold = "Column {} holds pictures too" if len(others) == 1 else "Columns {} hold pictures too"
    return [f"{hold.format(', '.join(others[:5]))}; one is used, which --image names."]


def note_unused_splits(columns: Iterable[Column], profile: TableProfile) -> list[str]:
    """Tell of columns that may say what is for training, where none was found or named."""
    notes = []
    for column in columns:
        is_free = column.role == "feature" or column.role.startswith("left out")
        is_free = is_free and normalise(column.name) not in OR_SPLIT  # told as a status
        found = profile.columns.get(column.name) if is_free else None
        values = _split_values(found) if found is not None else None
        if values is None:
            continue
        train, test = values
        notes.append(
            f"Column {column.name!r} may say what is for training and testing. It is not followed. "
            f"--split {quote(column.name)} --train-values {quote(join_names(train))} "
            f"--test-values {quote(join_names(test))}"
        )
    return notes


def _split_values(column: Profile) -> tuple[list[str], list[str]] | None:
    """Return the values for training and those for testing, None where a column says neither."""
    if not 2 <= len(column.distinct) <= _MAX_SPLITS:
        return None
    values = sorted(f"{v:g}" if isinstance(v, float) else str(v) for v in column.distinct)
    lower = {value.lower(): value for value in values}
    name = guess_split(column.name)
    if name is not None and lower.keys() in ({"true", "false"}, {"0", "1"}, {"yes", "no"}):
        yes = next(lower[word] for word in ("true", "1", "yes") if word in lower)
        no = next(value for value in values if value != yes)
        return ([yes], [no]) if name == "train" else ([no], [yes])
    said = {value: guess_split(value) for value in values}
    train, test = ([v for v in values if said[v] == one] for one in ("train", "test"))
    return (train, test) if train and test else None


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
