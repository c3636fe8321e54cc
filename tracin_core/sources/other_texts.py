"""Columns of texts beside those that are taken, and rows that are the same without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from tracin_core.sources.column_names import TEXT_NAMES, is_key_name, normalise
from tracin_core.sources.name_lists import join_names
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.profiles import Profile
from tracin_core.sources.records import Column, Problem
from tracin_core.sources.rows import RowReader
from tracin_core.terms import Kind

LEFT_OUT_TEXT = "left out: a text"
# Columns that make up an example together with another one, as data sets call them.
_PARTNERS = frozenset(
    (
        *("premise", "hypothesis", "question", "answer", "context", "passage", "query", "response"),
        *("sentence1", "sentence2", "sentence_1", "sentence_2", "text1", "text2", "text_1"),
        *("text_2", "text_a", "text_b", "sentence_a", "sentence_b", "question1", "question2"),
        *("prompt", "completion", "instruction", "input", "output", "subject", "claim", "evidence"),
        *("anchor", "positive", "negative", "reply", "post", "source", "reference", "caption"),
        *("selftext", "heading", "keywords", "notes"),
    )
)
LONG = 30  # characters, as of prose
_JOINED = 6  # columns in a proposal
Pair = tuple[int, int]


def find_other_texts(
    free: Mapping[str, Profile], columns: Sequence[str], options: ImportOptions, kind: Kind
) -> dict[str, str]:
    """Return the roles of the columns of texts that are left out, with what takes them in.

    Args:
        free: Columns without a role.
        columns: All, in the order of the table.
        options: With what is the input.
        kind: Of the examples; rows of values say what they leave out, and why, elsewhere.
    """
    if kind == "table":
        return {}
    names = [name for name, column in free.items() if is_other_text(column)]
    if kind == "image":
        return {
            name: f"{LEFT_OUT_TEXT}; --text {quote(join_names([name]))} takes it in place of the "
            "pictures"
            for name in names
        }
    taken = options.text_columns
    roles = {}
    for name in names:
        several = names if len(names) < _JOINED else [name]
        # One that was guessed or named stands where the table has it.
        order = [one for one in columns if one in several or one in taken]
        chosen = order if len(taken) == 1 else [*taken, *several]
        roles[name] = f"{LEFT_OUT_TEXT}; --text {quote(join_names(chosen))} takes it in"
    return roles


def is_other_text(column: Profile) -> bool:
    """Tell whether a column holds texts to be read, however often they come again."""
    if column.strings <= column.present // 2 or column.is_image_path or len(column.distinct) < 3:
        return False
    words = column.blanks / column.strings
    if 2 * column.worded <= column.strings:  # addresses, numbers of items, hashes
        return False
    if is_text_name(column.name) and column.mean_length >= 5:
        return True
    # Three words and more are rather a sentence than a name.
    return not is_key_name(column.name) and (column.mean_length >= LONG or words >= 2)


def is_text_name(name: str) -> bool:
    """Tell whether a column is called like a text, or like one of several."""
    return normalise(name.rpartition(".")[2]) in (*TEXT_NAMES, *_PARTNERS)


def note_texts_as_names(columns: Sequence[Column], free: Mapping[str, Profile]) -> list[str]:
    """Tell of inputs that are texts, each of which is taken as a name of its own."""
    names = [
        column.name
        for column in columns
        if column.role == "feature" and column.name in free
        if is_other_text(free[column.name]) and free[column.name].mean_length >= LONG
    ]
    if not names:
        return []
    listed = ", ".join(map(repr, names[:_JOINED]))
    return [
        f"Texts are taken as names, each of them as a whole: {listed}. If they are to be read: "
        f"--text {quote(join_names(names[:_JOINED]))}"
    ]


def explain_repeats(
    reader: RowReader, columns: Sequence[Column], pairs: Sequence[Pair], total: int
) -> tuple[str, ...]:
    """Say which rows are repeated only because a column is left out.

    Args:
        reader: Of the table.
        columns: With their roles.
        pairs: Numbers of a row and of the one before that has the same content.
        total: How many there are; the pairs may be the first of them.
    """
    asked = [
        column.name
        for column in columns
        if column.role.startswith("left out") and column.kind in ("text", "category")
        if not is_key_name(column.name)
    ]
    if not asked or not pairs:
        return ()
    digests = _read_digests(reader, asked, {row for pair in pairs for row in pair})
    differ = {
        name: sum(digests[one][place] != digests[other][place] for one, other in pairs)
        for place, name in enumerate(asked)
    }
    roles = {column.name: column.role for column in columns}
    of = f"{total:,}" if total == len(pairs) else f"the first {len(pairs):,}"
    notes = []
    texts = [n for n in asked if roles[n].startswith(LEFT_OUT_TEXT) and differ[n]]
    for name in texts:
        way_out = roles[name].partition("; ")[2]
        notes.append(
            f"{differ[name]:,} of {of} repeated rows are repeated only because column {name!r} is "
            f"left out: with it they are different. {way_out}."
        )
    others = [name for name in asked if name not in texts and differ[name]]
    if others:
        listed = ", ".join(f"{name!r} ({differ[name]:,})" for name in others[:10])
        notes.append(
            f"Of {of} repeated rows some differ in columns that are left out: {listed}. If they "
            "are different examples, name a column that tells them apart with --key."
        )
    return tuple(notes)


def _read_digests(
    reader: RowReader, columns: Sequence[str], wanted: set[int]
) -> dict[int, tuple[int, ...]]:
    """Return a number for each value of some rows, equal for equal values."""
    last = max(wanted)
    digests = {}
    for row in reader.read_rows(columns):
        number = row.row if isinstance(row, Problem) else row.number
        if number is not None and number > last:
            break
        if not isinstance(row, Problem) and row.number in wanted:
            digests[row.number] = tuple(hash(str(value)) for value in row.values)
    return digests
