"""What each row of a person's file gets: another answer, columns beside it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relabel.db.decisions.kinds import list_codes
from relabel.db.schema import UNDECIDED
from relabel.exporters.exported import Exported, Rows
from relabel.exporters.own.source import OwnSource, refuse
from relabel.importers.columns.values import RefusedError, parse_locale_number
from relabel.importers.readers.table import read_target
from relabel.importers.records import Problem, Row, SourceRecord
from relabel.text import counted

# Of these an answer stands, whatever the file says.
_SETTLING = list_codes("correct", "confirm")
# Columns of an export that stand beside the person's own, in this order, and what they are called.
_BESIDE = {
    "given_label": "given_label",
    "given_value": "given_value",
    "predicted_label": "predicted_label",
    "predicted_value": "predicted_value",
    "predicted_probability": "predicted_probability",
    "given_probability": "given_probability",
    "suggested_label": "suggested_label",
    "suggested_value": "suggested_value",
    "suggested_probability": "suggested_probability",
    "rank": "rank",
    "status": "status",
    "action": "decision",
    "note": "note",
    "reviewer": "reviewer",
    "decided_at": "decided_at",
}
MARK = "relabel_"
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of an example.

    Attributes:
        answer: A class or a number that was decided on; None where nobody has.
        is_reviewed: Whether somebody has decided about it.
        is_excluded: Whether it is to be left out of training.
        beside: Cells of the columns beside the person's own.
    """

    answer: str | float | None
    is_reviewed: bool
    is_excluded: bool
    beside: tuple[Any, ...] = ()


NOTHING = Said(None, False, False)


@dataclass
class Answers:
    """What the rows of one file get.

    Attributes:
        beside: Names of the columns beside the person's own; what each holds.
        num_changed: Rows whose answer was replaced.
        num_left_out: Rows that were left out.
    """

    source: OwnSource
    beside: dict[str, str]
    reviewed_only: bool
    keeps_excluded: bool
    is_regression: bool
    by_row: Mapping[int, Said]
    spelled: Mapping[str, Any]
    num_changed: int = 0
    num_left_out: int = 0
    _empty: tuple[Any, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._empty = (None,) * len(self.beside)

    def leaves_out(self, number: int) -> bool:
        """Return whether a row is left out, and count it."""
        said = self.by_row.get(number, NOTHING)
        is_out = (self.reviewed_only and not said.is_reviewed) or (
            said.is_excluded and not self.keeps_excluded
        )
        self.num_left_out += is_out
        return is_out

    def cells_beside(self, number: int) -> tuple[Any, ...]:
        """Return the cells of the columns beside a row's own; empty ones where nothing is known."""
        return self.by_row.get(number, NOTHING).beside or self._empty

    def replace(self, number: int, cell: Any, *, decimal: str = "", typed: bool = False) -> Any:
        """Return what takes a cell's place, as the file writes it; the cell itself if it stays.

        Args:
            number: Of the row.
            cell: With the answer, as the file has it.
            decimal: What stands before a fraction where numbers are read as people write them.
            typed: Whether numbers are numbers in the file.
        """
        answer = self.by_row.get(number, NOTHING).answer
        if answer is None:
            return cell
        new = (
            self._number(cell, float(answer), decimal, typed)
            if self.is_regression
            else self._name(cell, str(answer))
        )
        self.num_changed += new is not cell
        return new

    def _name(self, cell: Any, answer: str) -> Any:
        read = read_or_none(self.source.table.read_label, cell)
        if read == answer:
            return cell
        new = self.spelled[answer]
        if isinstance(cell, list) and not isinstance(new, list):
            return [new]
        return new[0] if isinstance(new, list) and not isinstance(cell, list) else new

    def _number(self, cell: Any, answer: float, decimal: str, typed: bool) -> Any:
        plain = parse_locale_number(cell, decimal) or cell if decimal else cell
        if read_or_none(lambda one: read_target(one, self.source.column), plain) == answer:
            return cell
        if typed:
            return int(answer) if isinstance(cell, int) and answer.is_integer() else answer
        text = repr(answer).removesuffix(".0")
        return text.replace(".", decimal) if decimal else text


def read_or_none(read: Callable[[Any], _Read], cell: Any) -> _Read | None:
    """Return what a cell says; None where it holds no answer, as in a row that is no example."""
    try:
        return read(cell)
    except RefusedError:
        return None


def find_answers(exported: Exported, source: OwnSource, chunks: Rows) -> Answers:
    """Find the row of every example in the file, and what it gets.

    A row that came again, and was left out of the import for that, gets what the first one gets.

    Raises:
        InputError: If the file lacks examples of the project, or a class has no name in it.
    """
    columns = source.table.reader.schema.columns
    names = _name_beside(exported, columns) if exported.own.beside else {}
    said = {key: one for chunk in chunks for key, one in _read_chunk(exported, chunk, tuple(names))}
    rows = [(number, key) for number, key in _list_rows(exported, source) if key in said]
    by_row = {number: said[key] for number, key in rows}
    _check_found(exported, source, len({key for _, key in rows}), len(said))
    wanted = {one.answer for one in by_row.values() if isinstance(one.answer, str)}
    return Answers(
        source=source,
        beside=names,
        reviewed_only=exported.reviewed_only,
        keeps_excluded=exported.keeps_excluded,
        is_regression=exported.task == "regression",
        by_row=by_row,
        spelled=_spell(source, wanted) if wanted else {},
    )


def _name_beside(exported: Exported, columns: tuple[str, ...]) -> dict[str, str]:
    """Return the columns of the export that go beside a file's own, with their names there."""
    signals = {name: name for name in exported.columns if name.startswith("signal_")}
    named = {}
    for name, shown in (_BESIDE | signals).items():
        if name in exported.columns:
            while shown in columns:
                shown = MARK + shown
            named[name] = shown
    return named


def _read_chunk(
    exported: Exported, chunk: list[dict[str, Any]], beside: tuple[str, ...]
) -> list[tuple[str, Said]]:
    """Return the examples of a chunk with what is known of them.

    Pictures are recognised by their place: their files need not be there any more.
    """
    found = []
    for row in chunk:
        said = Said(
            answer=row[exported.answer] if row["action"] in _SETTLING else None,
            is_reviewed=row["status"] not in UNDECIDED,
            is_excluded=row["excluded"],
            beside=tuple(row[name] for name in beside),
        )
        if exported.kind != "image":
            found.append((row["key"], said))
        elif _batch_of(exported) in (None, row["media_path"].split("/")[0]):
            found.append((row["source_place"] or row["key"], said))
    return found


def _batch_of(exported: Exported) -> str | None:
    imports = exported.settings.get("imports", ())
    return imports[(exported.own.number or 1) - 1].get("batch") if imports else None


def _list_rows(exported: Exported, source: OwnSource) -> Iterator[tuple[int, str]]:
    """Yield the numbers of a file's rows with the names of the examples that they are."""
    reader = source.table.reader
    if exported.kind == "image":
        for row in reader.read_rows([source.column]):
            if isinstance(row, Row):
                yield row.number, row.place or f"{reader.name}, row {row.number}"
        return
    for record in source.table.records(check_pixels=0):
        if isinstance(record, SourceRecord):
            yield record.row, record.key()


def _check_found(exported: Exported, source: OwnSource, found: int, expected: int) -> None:
    """Check that the file holds the project's examples."""
    if source.is_alone and found < expected:
        raise refuse(
            f"{source.name} has {found:,} of the project's {counted(expected, 'example')}. "
            "Expected all of them: it is another file than the one that was imported."
        )
    if not source.is_proven:
        exported.tell(
            f"This project was imported by a version that kept no digest of the file, so {found:,} "
            f"of {counted(expected, 'example')} were recognised in {source.name} by what they "
            "are, and nothing else tells that it is unchanged."
        )


def _spell(source: OwnSource, wanted: set[str]) -> dict[str, Any]:
    """Return how the file writes the classes that are needed."""
    found: dict[str, Any] = {}
    reader, read = source.table.reader, source.table.read_label
    for row in reader.read_rows([source.column]):
        if isinstance(row, Problem):
            continue
        name = read_or_none(read, row.values[0])
        if name is not None:
            found.setdefault(name, row.values[0])
        if wanted <= found.keys():
            return found
    return found | {name: _spell_unseen(source, name) for name in wanted - found.keys()}


def _spell_unseen(source: OwnSource, name: str) -> Any:
    """Return how the file would write a class that none of its rows has."""
    table = source.table
    is_typed = table.reader.schema.typed
    declared = table.reader.schema.class_names.get(source.column)
    if declared is not None or table.counts_classes:
        classes = table.classes or declared or ()
        if name in classes:
            index = classes.index(name) + (table.options.first_class or 0)
            return index if is_typed else str(index)
        raise refuse(
            f"In {source.name} labels are numbers, and the class {name!r:.80} has none there."
        )
    return name
