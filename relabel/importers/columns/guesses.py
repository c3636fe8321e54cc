"""Guess which column is the label, the image or the text, by names and by the first rows.

Where several columns hold texts, those that are left out are reported, with the rows that are the
same without them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from shlex import quote

from relabel.importers.columns.column_names import (
    IMAGE_NAMES,
    LABEL_NAMES,
    TEXT_NAMES,
    TRUTH_NAMES,
    first_named,
    is_key_name,
    label_named,
    normalise,
)
from relabel.importers.columns.profiles import Profile, TableProfile
from relabel.importers.options import ImportOptions, join_names
from relabel.importers.records import Column, Problem, RowReader, Schema
from relabel.text import Kind

LEFT_OUT_TEXT = "left out: a text"
# What the two texts of a pair are called in published data sets (GLUE, SNLI, SQuAD, MS MARCO).
_PAIRS = (
    *(("premise", "hypothesis"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2")),
    *(("sentence_a", "sentence_b"), ("question1", "question2"), ("text1", "text2")),
    *(("text_1", "text_2"), ("text_a", "text_b"), ("question", "answer"), ("question", "context")),
    *(("question", "sentence"), ("question", "passage"), ("query", "passage"), ("query", "answer")),
    *(("claim", "evidence"), ("prompt", "response"), ("prompt", "completion")),
)
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
_IMAGE_ADDRESSES = ("image", "img", "image_url", "img_url", "picture", "photo", "image_link")
_CHOICES = ("accept", "choices", "choice")
_MARKED = ("spans", "entities", "tokens", "relations")  # parts of an example, not the whole
_MAX_CATEGORIES = 1000  # of one input column: each becomes an input of its own


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
    """Return whether a column holds texts to be read, however often they come again."""
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
    """Return whether a column is called like a text, or like one of several."""
    return normalise(name.rpartition(".")[2]) in (*TEXT_NAMES, *_PARTNERS)


def note_texts_as_names(columns: Sequence[Column], free: Mapping[str, Profile]) -> list[str]:
    """Report inputs that are texts, each of which is taken as a name of its own."""
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
    """Describe which rows are repeated only because a column is left out.

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


def guess_label(
    schema: Schema, profile: TableProfile, options: ImportOptions, taken: Collection[str]
) -> str | None:
    """Return the column that holds the classes, or None where several might."""
    free = [name for name in profile.columns if name not in taken]
    # What is inside of marked passages is said of them, not of the example.
    free = [name for name in free if name.split(".")[0] not in _MARKED or "." not in name]
    declared = [name for name in free if name in schema.class_names]
    by_name = label_named(declared) or label_named(free)
    if by_name or len(declared) == 1:
        return by_name or declared[0]
    inside = [name for name in free if _is_choice(profile.columns[name])]
    if len(inside) == 1:
        return inside[0]
    others = [name for name in free if not is_key_name(name)]
    if options.text is None and options.image is None:
        others = [name for name in others if not _is_content(profile.columns[name])]
        has_content = len(others) + 1 == len([n for n in free if not is_key_name(n)])
        has_content = has_content or bool(schema.image_columns)
    else:
        has_content = True
    return others[0] if len(others) == 1 and has_content else None


def describe_candidates(profile: TableProfile, taken: Collection[str]) -> str:
    """Name the columns that could be the label because they hold few different values."""
    few = [
        f"{name!r} ({', '.join(column.examples)}{', …' if len(column.distinct) > 4 else ''})"
        for name, column in profile.columns.items()
        if name not in taken and column.is_class_like
    ]
    nested = {n: c for n, c in profile.columns.items() if c.nested and n not in taken}
    lists = [name for name, column in nested.items() if column.singles]
    others = [repr(name) for name in nested if name not in lists]
    told = f" Those with few different values: {', '.join(few[:8])}." if few else ""
    if lists:
        told += (
            f" Lists are in: {', '.join(map(repr, lists[:8]))}; --label {quote(lists[0])} takes "
            "the rows in which it is a list of one name."
        )
    if others:
        told += (
            f" Lists or objects are in: {', '.join(others[:8])}; what is in them needs a column of "
            "its own, with one name in each cell."
        )
    return told


def _is_choice(column: Profile) -> bool:
    """Return whether a column holds what was chosen, as annotation tools write it into objects."""
    *outer, last = column.name.split(".")
    if last in _CHOICES:
        return column.is_choice or (bool(outer) and column.is_class_like)
    return bool(outer) and outer[0] not in _MARKED and normalise(last) in LABEL_NAMES


def _is_content(profile: Profile) -> bool:
    named = normalise(profile.name) in (*TEXT_NAMES, *IMAGE_NAMES)
    return profile.is_prose or profile.is_image_path or named


def guess_image(
    schema: Schema, free: Mapping[str, Profile], taken: Mapping[str, str]
) -> str | None:
    """Return the column of images: stored in the data, or as paths."""
    stored = [name for name in schema.columns if name in schema.image_columns - set(taken)]
    paths = [name for name, column in free.items() if column.is_image_path]
    # Addresses are no paths, but of a column that is called like images nothing else can be meant.
    paths += [n for n, c in free.items() if c.is_address and normalise(n) in _IMAGE_ADDRESSES]
    return first_named(stored, IMAGE_NAMES) or next(
        iter(stored), first_named(paths, IMAGE_NAMES) or next(iter(paths), None)
    )


def guess_text(free: Mapping[str, Profile]) -> str | tuple[str, ...] | None:
    """Return the column of texts or a pair of them, or None where the rows are rather values."""
    words = {n: c for n, c in free.items() if c.strings > c.present // 2 and not c.is_image_path}
    # Addresses are the texts only where there are no others.
    words = {n: c for n, c in words.items() if not c.is_address} or words
    measures = [
        column
        for name, column in free.items()
        if column.is_number and not is_key_name(name)
        if len(column.distinct) > 1 and not column.is_counter
    ]
    several = [n for n, c in words.items() if len(c.distinct) > 2]
    pair = find_pair([name for name in several if is_other_text(words[name])])
    if pair is not None and len(measures) < 2:
        return pair
    named = first_named(several, TEXT_NAMES) or _named_inside(several)
    prose = [name for name, column in words.items() if column.is_prose]
    # Beside several measures, a title or a description is rather a remark than the example.
    if (
        named
        and (words[named].is_prose or len(measures) < 2)
        and not (normalise(named) in TEXT_NAMES[-5:] and len(measures) >= 2)
    ):
        return named
    if len(measures) >= 2:
        return None
    if len(prose) == 1:
        return prose[0]
    # Texts of which each comes several times, such as a premise with three hypotheses.
    long = [n for n, c in words.items() if is_other_text(c) and c.mean_length >= LONG]
    found = prose or long
    if len(found) == 1:
        return found[0]
    if len(found) == 2 and all(is_text_name(name) for name in found):
        return tuple(found)
    others = [n for n in words if not is_key_name(n)]
    return others[0] if len(others) == len(free) == 1 and words[others[0]].mean_length > 8 else None


def find_pair(columns: Sequence[str]) -> tuple[str, str] | None:
    """Return two columns that are called like the two texts of a pair, in the pair's order."""
    by_name = {normalise(name): name for name in columns}
    for first, second in _PAIRS:
        if first in by_name and second in by_name:
            return by_name[first], by_name[second]
    return None


def _named_inside(columns: list[str]) -> str | None:
    """Return the only column inside of an object that is called like a text."""
    found = [name for name in columns if "." in name and name.rpartition(".")[2] in TEXT_NAMES]
    found = [name for name in found if name.partition(".")[0] not in (*_MARKED, "options")]
    return found[0] if len(found) == 1 else None


def reason_against(
    column: Profile, profile: TableProfile, answer: str, is_regression: bool
) -> str | None:
    """Describe why a column should be no input of a table, or None where it can be one."""
    if column.nested:
        return "holds lists or objects"
    if len(column.distinct) < 2:
        return "always the same" if column.present else "empty"
    if normalise(column.name) in TRUTH_NAMES:
        return "called like the truth; --truth uses it for evaluation"
    if is_key_name(column.name) and column.is_identifier:
        return "an identifier; --key uses it as the examples' name"
    # Of a number to be predicted it may be the time; a class would be told by the file's order.
    if column.is_counter and not is_regression:
        return "counts the rows; --features uses it nevertheless"
    if is_the_answer(profile, column.name, answer, is_regression):
        return f"is the label: {answer!r} in other words"
    if column.is_number:
        return None
    if column.is_prose:
        return "a text; --text uses it as the input"
    if column.is_identifier or len(column.distinct) > _MAX_CATEGORIES:
        return "too many different names"
    return None


def is_the_answer(profile: TableProfile, name: str, answer: str, is_regression: bool) -> bool:
    """Return whether a column says, row by row, nothing but what is to be predicted."""
    pairs = profile.pairs(name, answer)
    if len(pairs) < 10:
        return False
    values, answers = {value for value, _ in pairs}, {known for _, known in pairs}
    if len(set(pairs)) != len(values) or len(values) != len(answers) or len(answers) < 2:
        return False
    if not is_regression:
        return len(answers) <= len(pairs) // 2  # else both may be identifiers
    return all(value == known for value, known in pairs)
