"""Columns in which an annotation tool says whether a row's label holds: rejected, cancelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from shlex import quote

from relabel.importers.columns.column_names import normalise
from relabel.importers.columns.profiles import TableProfile, name_value
from relabel.importers.columns.values import MISSING_NUMBERS, RefusedError, show
from relabel.importers.options import ImportOptions, join_names
from relabel.importers.records import Problem, RowReader
from tracin_core.errors import InputError

LEFT_OUT = "left out by its status"
_MAX_VALUES = 12  # a column of more different ones says something else
# Columns of words. The first are written by annotation tools alone, so also beside measures.
_SURE = ("answer", "was_cancelled", "label_status", "annotation_status", "review_status")
_WORDED = (
    *("answer", "label_status", "annotation_status", "review_status", "status", "label_state"),
    *("review", "decision", "verdict", "review_result", "annotation_state", "state"),
)
_REFUSING = frozenset(
    (
        *("reject", "rejected", "ignore", "ignored", "skip", "skipped", "discard", "discarded"),
        *("decline", "declined", "invalid", "disapproved", "cancel", "cancelled", "canceled"),
        *("delete", "deleted", "removed", "exclude", "excluded", "flagged", "unusable"),
    )
)
# Nobody has said that such a label does not hold: they are taken, and told.
_OPEN = frozenset(
    (
        *("pending", "draft", "todo", "open", "new", "unreviewed", "unchecked", "unverified"),
        *("ambiguous", "unsure", "in_progress", "in_review", "started"),
    )
)
_HOLDING = frozenset(
    (
        *("accept", "accepted", "approve", "approved", "valid", "ok", "okay", "keep", "kept"),
        *("done", "complete", "completed", "submit", "submitted", "confirmed", "verified"),
        *("validated", "correct", "reviewed", "checked", "finished", "gold", "include"),
        *("included", "relabel", "relabelled", "relabeled", "corrected", "decided"),
    )
)
# Columns of yes and no: those where yes says that the label holds, and those where it does not.
_YES_HOLDS = (
    *("is_valid", "valid", "approved", "is_approved", "accepted", "is_accepted", "is_correct"),
    *("label_ok", "label_valid", "label_correct", "keep", "usable", "use", "include", "included"),
)
_YES_REFUSES = (
    *("was_cancelled", "was_canceled", "cancelled", "canceled", "excluded", "is_excluded"),
    *("rejected", "is_rejected", "flagged", "is_flagged", "ignored", "ignore", "is_ignored"),
    *("skipped", "is_skipped", "discarded", "is_discarded", "deleted", "is_deleted", "invalid"),
    *("is_invalid", "disapproved", "exclude", "skip"),
)
# A label that nobody has looked at yet, or that a program suspects, is what this program is for.
_YES_SEEN = (
    *("verified", "is_verified", "reviewed", "is_reviewed", "confirmed", "is_confirmed"),
    *("checked", "is_checked", "validated", "is_validated", "label_issue", "is_label_issue"),
)
# Parts of other names that may mean the same: such columns are told, never followed.
_LIKE = frozenset(
    (
        *("status", "state", "decision", "verdict", "review", "answer", "result", "outcome"),
        *("valid", "invalid", "approved", "accepted", "rejected", "discarded", "excluded"),
        *("ok", "okay", "delete", "deleted", "remove", "removed", "exclude", "discard", "ignore"),
        *("skip", "reject", "flagged", "unusable", "usable", "cancelled", "canceled"),
    )
)
_LIKE_REFUSING = frozenset(("fail", "failed", "bad", "wrong", "incorrect", "broken"))
_LIKE_HOLDING = frozenset(("pass", "passed", "good", "right", "fine"))
# Of what a column of yes and no is called where yes speaks against a label.
_AGAINST = _REFUSING | {"delete", "remove", "discard", "reject", "unusable"}
# For fast.ai these rows are for validation, which are the fewer.
OR_SPLIT = ("is_valid", "valid")
_YES = frozenset(("true", "yes", "y", "t", "1", "x", "ja", "oui", "si", "sí"))
_NO = frozenset(("false", "no", "n", "f", "0", "nein", "non"))


@dataclass(frozen=True)
class StatusColumn:
    """A column that says whether labels hold.

    Attributes:
        name: Of the column.
        counts: Rows by value, in all of the data; "" where it is empty.
        refused: Values that say that the label does not hold.
        is_plain: Whether all values are known, so that rows may be left out unasked.
        may_be_split: Whether it may say instead which rows are for validation.
    """

    name: str
    counts: Mapping[str, int]
    refused: tuple[str, ...]
    is_plain: bool
    may_be_split: bool = False

    @property
    def held(self) -> tuple[str, ...]:
        """Return the other values, without the empty one."""
        return tuple(value for value in self.counts if value and value not in self.refused)

    @property
    def is_known(self) -> bool:
        """Return whether its whole name is that of such a column, rather than a part of it."""
        return _plain_name(self.name) in (*_WORDED, *_YES_HOLDS, *_YES_REFUSES, *_YES_SEEN)

    @property
    def is_sure(self) -> bool:
        """Return whether only annotation tools write such a column."""
        return _plain_name(self.name) in _SURE

    def describe(self, values: Collection[str]) -> str:
        """Return some values with their numbers of rows."""
        return ", ".join(f"{show(value)} ({self.counts[value]:,})" for value in values)


def status_value(value: object) -> str:
    """Return a cell as a word of a status; a list of one word is that word."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = name_value(value)
    return "" if found.casefold() in MISSING_NUMBERS else found


def find_statuses(
    reader: RowReader, profile: TableProfile, taken: Collection[str]
) -> list[StatusColumn]:
    """Return the columns that say by name and values whether labels hold, the surest first."""
    known = (*_SURE, *_YES_REFUSES, *_YES_HOLDS, *_WORDED, *_YES_SEEN)
    places = {name: place for place, name in reversed(list(enumerate(known)))}
    free = [name for name in profile.columns if name not in taken]
    named = [name for name in free if _plain_name(name) in places]
    named.sort(key=lambda name: places[_plain_name(name)])
    found = [_judge(name, _count_values(reader, name)) for name in named]
    found += [
        _judge_like(name, _count_values(reader, name))
        for name in free
        if name not in named and set(_plain_name(name).split("_")) & _LIKE
        if len(profile.columns[name].distinct) <= _MAX_VALUES
    ]
    return [column for column in found if column is not None]


def name_status(
    reader: RowReader, options: ImportOptions, found: StatusColumn | None, notes: list[str]
) -> ImportOptions:
    """Fill in the values that say that a label holds, for a column that is named or found.

    Raises:
        InputError: If they cannot be told.
    """
    name = options.status or (found.name if found else None)
    if name is None:
        if options.status_values is not None:
            raise InputError(
                "Values of a status were named with --status-values, but no column says whether a "
                "label holds. Name the column with --status, or leave --status-values out."
            )
        return options
    if found is None or found.name != name:
        counts = _count_values(reader, name)
        judged = _judge(name, counts) or _judge_like(name, counts)
        found = judged or StatusColumn(name, counts or {}, (), is_plain=False)
    if options.status_values is None and not found.refused:
        raise InputError(
            f"Which values of the column {name!r} say that a label holds cannot be told. Found "
            f"{found.describe(list(found.counts)[:_MAX_VALUES]) or 'too many different ones'}. "
            "Name them with --status-values."
        )
    held = options.status_values
    if held is None:
        held = found.held
    wanted = {value.casefold() for value in held}
    refused = tuple(v for v in found.counts if v and v.casefold() not in wanted)
    if not any(value.casefold() in wanted for value in found.counts) and not found.counts.get(""):
        raise InputError(
            f"No row has a status that holds: column {name!r} holds "
            f"{found.describe(list(found.counts)[:_MAX_VALUES])}. Name those to be taken with "
            "--status-values."
        )
    notes.append(_tell(found, refused))
    return replace(options, status=name, status_values=held)


def note_statuses(columns: Collection[StatusColumn], kind: str) -> list[str]:
    """Report columns that may say whether labels hold, and are not followed."""
    notes = []
    for column in columns:
        seen = [value for value in column.counts if value]
        way_out = (
            f"--status {quote(column.name)} leaves those rows out."
            if column.refused
            else f"--status {quote(column.name)} with --status-values leaves rows out."
        )
        used = "an input column here" if kind == "table" else "not looked at"
        if column.may_be_split:
            way_out += (
                f" If it says which rows are for validation: --split {quote(column.name)} "
                f"--train-values {quote(join_names(column.refused))} "
                f"--test-values {quote(join_names(column.held))}"
            )
        notes.append(
            f"Column {column.name!r} may say whether a row's label holds: "
            f"{column.describe(seen)}. It is {used}, and all rows are taken. {way_out}"
        )
    return notes


def check_status(value: object, column: str, held: Collection[str]) -> None:
    """Check that a row's label holds; an empty cell does not speak against it.

    Args:
        value: The cell.
        column: Its name, for the message.
        held: Values that hold, in small letters.

    Raises:
        RefusedError: If it does not.
    """
    found = status_value(value)
    if found and found.casefold() not in held:
        raise RefusedError(
            LEFT_OUT,
            f"Its {column!r} is {show(found)}, which says that the label does not hold. "
            "--status-values says which values do.",
        )


def _plain_name(name: str) -> str:
    """Return what a column is called, of a part of an object its last name."""
    return normalise(name.rpartition(".")[2] or name)


def _count_values(reader: RowReader, column: str) -> Counter[str] | None:
    """Count the values of a column in all rows, as data is often sorted; None of too many."""
    counts: Counter[str] = Counter()
    for row in reader.read_rows([column]):
        if isinstance(row, Problem):
            continue
        counts[status_value(row.values[0])] += 1
        if len(counts) > _MAX_VALUES:
            return None
    return Counter(dict(sorted(counts.items())))


def _judge(name: str, counts: Counter[str] | None) -> StatusColumn | None:
    """Return what a column's values say, None where it is no status."""
    values = [value for value in counts or () if value]
    if counts is None or not values:
        return None
    plain = _plain_name(name)
    words = {value: value.casefold().replace(" ", "_").replace("-", "_") for value in values}
    if set(words.values()) <= _YES | _NO:
        if plain in _YES_SEEN:
            return StatusColumn(name, counts, (), is_plain=False) if len(values) > 1 else None
        against = _YES if plain in _YES_REFUSES else _NO
        refused = tuple(value for value in values if words[value] in against)
        if not refused:
            return None
        is_few = plain in OR_SPLIT and 2 * sum(counts[v] for v in refused) > counts.total()
        both = is_few and len(refused) < len(values)
        return StatusColumn(name, counts, refused, is_plain=not both, may_be_split=both)
    refused = tuple(value for value in values if words[value] in _REFUSING)
    is_open = any(word in _OPEN for word in words.values())
    is_plain = set(words.values()) <= _REFUSING | _OPEN | _HOLDING
    if not refused and not (is_open and is_plain and len(values) > 1):
        return None
    return StatusColumn(name, counts, refused, is_plain=is_plain and bool(refused))


def _judge_like(name: str, counts: Counter[str] | None) -> StatusColumn | None:
    """Return what a column may say whose name is not known, but has a word of a status in it."""
    values = [value for value in counts or () if value]
    if counts is None or not values:
        return None
    words = {value: value.casefold().replace(" ", "_").replace("-", "_") for value in values}
    parts = set(_plain_name(name).split("_"))
    if set(words.values()) <= _YES | _NO:
        against = _YES if parts & _AGAINST else _NO
        refused = tuple(value for value in values if words[value] in against)
        is_told = bool(refused) and (len(values) > 1 or "" in counts)
    else:
        known = _REFUSING | _OPEN | _HOLDING | _LIKE_REFUSING | _LIKE_HOLDING
        refused = tuple(v for v in values if words[v] in _REFUSING | _LIKE_REFUSING)
        is_told = bool(refused) and len(refused) < len(values) and set(words.values()) <= known
    return StatusColumn(name, counts, refused, is_plain=False) if is_told else None


def _tell(column: StatusColumn, refused: Collection[str]) -> str:
    held = [value for value in column.counts if value and value not in refused]
    empty = column.counts.get("", 0)
    taken = column.describe(held) + (f"{', ' if held else ''}empty ({empty:,})" if empty else "")
    if not refused:
        return (
            f"Status: column {column.name!r} says whether a row's label holds, and all its values "
            f"are taken: {taken}."
        )
    number = sum(column.counts[value] for value in refused)
    every = quote(join_names([value for value in column.counts if value]))
    return (
        f"Status: column {column.name!r} says whether a row's label holds. Taken: "
        f"{taken or 'nothing'}; left out: {number:,} of {sum(column.counts.values()):,} rows, "
        f"{column.describe(refused)}. To take all of them: --status-values {every}"
    )
