"""Read decisions from a file: CSV, Parquet or JSON Lines as they were exported, or Label Studio.

Nothing in the file is believed here: what it says of examples and classes is compared with the
project by ``relabel.returned.plan``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from relabel.db.decisions.kinds import RELABEL
from relabel.importers.files.encoding import find_encoding
from relabel.importers.options import ImportOptions
from relabel.importers.readers.json_lines import read_values
from relabel.importers.readers.table import find_table_form, open_table_rows
from relabel.importers.records import Problem, Row
from relabel.returned.label_studio import is_task, read_task
from tracin_core.errors import InputError
from tracin_core.files import expand_path

_COLUMNS = ("key", "given_label", "label", "given_value", "value", "action", "note", "reviewer")
_WHEN = ("decided_at", "version")
_FIRST_YEAR, _LAST_YEAR = 1970, 9000


@dataclass(frozen=True, kw_only=True)
class ReturnedDecision:
    """One decision as a file states it.

    Attributes:
        where: Its place in the file, in words.
        key: Of its example.
        action: As the database names it; "" where the file names none.
        given: The given label or number, as the file has it; None where it does not say.
        answer: The label or number as it stands; None where the file does not say.
        note: What was written about it.
        reviewer: Who decided; "" where the file does not say.
        stated_at: When; None where the file does not say, or says no time.
        version: Events that the example had when the file was made; None where unknown.
        is_protected: Whether texts may have an apostrophe before them that is not theirs.
    """

    where: str
    key: str
    action: str = ""
    given: str | float | None = None
    answer: str | float | None = None
    note: str = ""
    reviewer: str = ""
    stated_at: datetime | None = None
    version: int | None = None
    is_protected: bool = False

    def make_token(self, project: str) -> str:
        """Return what tells this decision, in a project, from all others, however often it comes.

        Args:
            project: Tells the project from all others.
        """
        said = asdict(self) | {"where": "", "version": None, "project": project}
        return sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def read_decisions(path: Path) -> Iterator[ReturnedDecision | Problem]:
    """Yield the decisions of a file; an example without one has an empty action and its own label.

    Raises:
        InputError: If the file cannot be read, or holds no decisions.
    """
    path = expand_path(path)
    if not path.is_file():
        raise InputError(
            f"{path} is no file. Expected an export with decisions: CSV, Parquet, JSON Lines, or "
            "JSON of Label Studio. Check the path."
        )
    if find_table_form(path) == "json-lines" and _holds_tasks(path):
        yield from _read_tasks(path)
        return
    yield from _read_table(path)


def _holds_tasks(path: Path) -> bool:
    first = next(read_values(path, find_encoding(path).name), None)
    return is_task(first)


def _read_tasks(path: Path) -> Iterator[ReturnedDecision | Problem]:
    for number, task in enumerate(read_values(path, find_encoding(path).name), 1):
        where = f"task {number:,}"
        if not isinstance(task, dict) or not is_task(task):
            yield Problem(number, where, "It is no task of Label Studio.", "no task")
            continue
        said = read_task(task)
        if isinstance(said, str):
            yield Problem(number, where, said, "no decision that can be read")
        else:
            moment = read_moment(said.pop("stated_at"))
            yield ReturnedDecision(where=where, stated_at=moment, **said)


def _read_table(path: Path) -> Iterator[ReturnedDecision | Problem]:
    reader = open_table_rows(path, ImportOptions())
    columns = reader.schema.columns
    if "key" not in columns or not {"label", "value"} & set(columns):
        raise InputError(
            f"{path} has the columns {', '.join(columns[:20])}. Expected those of an export: "
            "`key`, `label` or `value`, and `action`, `note`, `reviewer`, `decided_at`. Export the "
            "project as csv, parquet, jsonl or label-studio, and change that file."
        )
    wanted = [name for name in (*_COLUMNS, *_WHEN) if name in columns]
    is_text = find_table_form(path) == "delimited"
    for row in reader.read_rows(wanted):
        yield row if isinstance(row, Problem) else _read_row(row, wanted, is_text=is_text)


def _read_row(row: Row, wanted: Sequence[str], *, is_text: bool) -> ReturnedDecision | Problem:
    cells = dict(zip(wanted, row.values, strict=True))
    where = f"row {row.number:,}"
    key = _text(cells.get("key"))
    if not key:
        return Problem(row.number, where, "It has no key.", "no key")
    is_number = "value" in wanted and "label" not in wanted
    name = "value" if is_number else "label"
    return ReturnedDecision(
        where=where,
        key=key,
        action=_text(cells.get("action")).strip().lower(),
        given=_answer(cells, f"given_{name}", is_number=is_number),
        answer=_answer(cells, name, is_number=is_number),
        note=_text(cells.get("note")),
        reviewer=_text(cells.get("reviewer")),
        stated_at=read_moment(cells.get("decided_at")),
        version=_count(cells.get("version")),
        is_protected=is_text,
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _answer(cells: Mapping[str, Any], name: str, *, is_number: bool) -> str | float | None:
    value = cells.get(name)
    if value is None or value == "":
        return None
    if not is_number:
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)  # which no project of numbers takes
    return number if math.isfinite(number) else str(value)


def _count(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def read_moment(value: Any) -> datetime | None:
    """Return a time that a file states, in UTC; None where it states none."""
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            return None
    if not _FIRST_YEAR < moment.year < _LAST_YEAR:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def choose_action(decision: ReturnedDecision) -> str:
    """Return the action of a decision, also where the file states another answer alone."""
    if decision.action:
        return decision.action
    if decision.answer is None or decision.given is None or decision.answer == decision.given:
        return ""
    return RELABEL.code
