"""A project's rows as lines of JSON: out of one database, and checked on the way into another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import JSON, ColumnElement, Connection, Select, Table, select

from tracin_core.errors import InputError
from tracin_core.reviews.project_rules import check_storable
from tracin_core.reviews.schema import (
    Base,
    CheckpointRow,
    DecisionRow,
    ExampleRow,
    PredictionRow,
    ProjectRow,
    ReviewerRow,
    RunRow,
    ScoreRow,
    ScoringRow,
    UtcDateTime,
)

# Bytes of one row: a text of some megabytes, escaped. A file cannot fill the memory with a line.
LONGEST_ROW = 256 * 1024 * 1024
CHUNK = 5000
LARGEST_INTEGER = 2**31 - 1  # what PostgreSQL's integer holds


@dataclass(frozen=True)
class RowGroup:
    """The rows of one table that belong to a project.

    Attributes:
        row: The table's class.
        belongs: Says which rows, by the project's id.
    """

    row: type[Base]
    belongs: Callable[[int], ColumnElement[bool]]

    @property
    def table(self) -> Table:
        """The table."""
        table = self.row.__table__
        assert isinstance(table, Table)  # noqa: S101 - for the type checker
        return table

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    def query(self, project_id: int) -> Select[Any]:
        """Return the query for the rows, in the order of their keys."""
        return (
            select(self.table)
            .where(self.belongs(project_id))
            .order_by(*self.table.primary_key.columns)
        )


def _run_ids(project_id: int) -> Select[Any]:
    return select(RunRow.id).where(RunRow.project_id == project_id)


def _scoring_ids(project_id: int) -> Select[Any]:
    return select(RunRow.scoring_id).where(RunRow.project_id == project_id)


# In the order in which they can be entered: what is referred to comes first.
GROUPS = (
    RowGroup(ProjectRow, lambda project: ProjectRow.id == project),
    RowGroup(
        ReviewerRow,
        lambda project: ReviewerRow.id.in_(
            select(DecisionRow.reviewer_id).where(DecisionRow.project_id == project)
        ),
    ),
    RowGroup(ExampleRow, lambda project: ExampleRow.project_id == project),
    RowGroup(ScoringRow, lambda project: ScoringRow.id.in_(_scoring_ids(project))),
    RowGroup(RunRow, lambda project: RunRow.project_id == project),
    RowGroup(CheckpointRow, lambda project: CheckpointRow.run_id.in_(_run_ids(project))),
    RowGroup(ScoreRow, lambda project: ScoreRow.scoring_id.in_(_scoring_ids(project))),
    RowGroup(PredictionRow, lambda project: PredictionRow.scoring_id.in_(_scoring_ids(project))),
    RowGroup(DecisionRow, lambda project: DecisionRow.project_id == project),
)


def dump_rows(connection: Connection, group: RowGroup, project_id: int) -> Iterator[bytes]:
    """Yield the names of the columns as a JSON list, then each row as one, a line each."""
    yield _line([column.name for column in group.table.columns])
    rows = connection.execute(group.query(project_id).execution_options(yield_per=CHUNK))
    for row in rows:
        yield _line([_plain(value) for value in row])


def load_rows(group: RowGroup, file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what ``dump_rows`` wrote, with every value checked against its column.

    A column that the file lacks is left out, so that the database's default applies.

    Raises:
        InputError: If the file is no such file, or comes from a newer version.
    """
    lines = enumerate(_read_lines(group, file))
    header = next(lines, (0, None))[1]
    if not isinstance(header, list) or not all(isinstance(name, str) for name in header):
        raise InputError(f"The backup's table {group.name} does not begin with its columns.")
    unknown = set(header) - set(group.table.columns.keys())
    if unknown:
        raise InputError(
            f"The backup's table {group.name} has the columns {', '.join(sorted(unknown))}, which "
            "this version does not know. Expected a backup of this version or an older one: "
            "update the program."
        )
    for number, values in lines:
        if not isinstance(values, list) or len(values) != len(header):
            raise InputError(
                f"Row {number} of the backup's table {group.name} does not have the "
                f"{len(header)} values of its columns."
            )
        yield {
            name: _checked(group.table, name, value, number)
            for name, value in zip(header, values, strict=True)
        }


def in_chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in lists of at most ``CHUNK``."""
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _read_lines(group: RowGroup, file: IO[bytes]) -> Iterator[Any]:
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        if len(line) > LONGEST_ROW:
            raise InputError(
                f"Row {number} of the backup's table {group.name} is longer than "
                f"{LONGEST_ROW:,} bytes. Expected rows as this program writes them."
            )
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"Row {number} of the backup's table {group.name} is no JSON: {error}."
            ) from error
        number += 1


def _line(values: list[Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _checked(table: Table, name: str, value: Any, number: int) -> Any:
    """Return a value as its column takes it."""
    column = table.columns[name]
    place = f"Row {number} of the backup's table {table.name}, column {name},"
    if value is None:
        if not column.nullable:
            raise InputError(f"{place} is empty. Expected a value.")
        return None
    if isinstance(column.type, JSON):
        if not isinstance(value, list | dict):
            raise InputError(f"{place} holds {value!r:.80}. Expected a list or an object.")
        check_storable(json.dumps(value, ensure_ascii=False), place)
        return value
    if isinstance(column.type, UtcDateTime):
        return _moment(value, place)
    return _TYPES[column.type.python_type](value, place)


def _integer(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_INTEGER:
        raise InputError(f"{place} holds {value!r:.80}. Expected a whole number.")
    return value


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{place} holds {value!r:.80}. Expected a number.")
    try:
        return float(value)
    except OverflowError as error:
        raise InputError(f"{place} holds a number beyond any float.") from error


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{place} holds {value!r:.80}. Expected a text.")
    check_storable(value, place)
    return value


def _truth(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{place} holds {value!r:.80}. Expected true or false.")
    return value


def _moment(value: Any, place: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place} holds {value!r:.80}. Expected a date and time.") from error
    if moment.tzinfo is None:
        raise InputError(f"{place} holds {value!r:.80}. Expected a time with its zone.")
    return moment


_TYPES: Mapping[type, Callable[[Any, str], Any]] = {
    int: _integer,
    float: _number,
    str: _text,
    bool: _truth,
}
