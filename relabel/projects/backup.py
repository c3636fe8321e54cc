"""Back up a project into one zip file: its rows with every event, its images, runs and truth.

The rows are JSON Lines, a file a table (``GROUPS``). ``load_rows`` reads them back for a
restoration and checks every value against its column, because the file may come from anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import JSON, Column, ColumnElement, Connection, Engine, Select, Table, select

from relabel.db.engine import reading_one_state
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.schema import (
    AuditItemRow,
    AuditRow,
    Base,
    CheckpointRow,
    DecisionRow,
    ExampleRow,
    OpinionRow,
    PredictionRow,
    ProjectRow,
    ReviewerRow,
    RunRow,
    ScoreRow,
    ScoringRow,
    SecondLookRow,
    UtcDateTime,
)
from relabel.errors import WorkspaceError
from relabel.files import open_export
from relabel.locks import remove_abandoned_temporaries
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.projects.backup_file import (
    FILES,
    MANIFEST,
    PIECE,
    ROWS,
    FileEntry,
    Manifest,
    check_values,
    is_index,
)
from relabel.text import BROKEN, ZERO, find_text_fault
from relabel.workspace import Workspace
from tracin_core import __version__
from tracin_core.errors import InputError

# Bytes of one row: a text of some megabytes, escaped, or the settings of a project.
LONGEST_ROW = 64 * 1024 * 1024
# Values in one row: a run's settings hold the vocabulary, a table's example a thousand fields.
MOST_VALUES = 1_000_000
# Characters of the rows that are entered at once, which are all in memory.
LARGEST_CHUNK = 16 * 1024 * 1024
CHUNK = 5000
# Columns that backups of older versions have, and what they said of a project that is backed up.
GONE_COLUMNS = {"project": {"deleting": False}}
# Long before and after this program.
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
LARGEST_INTEGER = 2**31 - 1  # what PostgreSQL's integer holds
# Made again when it is needed.
_LEFT_OUT = ("encoded",)
_TRAININGS = "training"
# Of presses that may be sent again, to this database; what follows from a name; and rights, which
# no file gives.
_LEFT_OUT_COLUMNS = ("token", "name_key", "role")


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

    @property
    def columns(self) -> list[Column[Any]]:
        """Its columns, but those that mean nothing elsewhere."""
        return [one for one in self.table.columns if one.name not in _LEFT_OUT_COLUMNS]

    def query(self, project_id: int) -> Select[Any]:
        """Return the query for the rows, in the order of their keys."""
        return (
            select(*self.columns)
            .where(self.belongs(project_id))
            .order_by(*self.table.primary_key.columns)
        )


def _run_ids(project_id: int) -> Select[Any]:
    return select(RunRow.id).where(RunRow.project_id == project_id)


def _scoring_ids(project_id: int) -> Select[Any]:
    return select(RunRow.scoring_id).where(RunRow.project_id == project_id)


def _audit_ids(project_id: int) -> Select[Any]:
    return select(AuditRow.id).where(AuditRow.project_id == project_id)


# In the order in which they can be entered: what is referred to comes first.
GROUPS = (
    RowGroup(ProjectRow, lambda project: ProjectRow.id == project),
    RowGroup(
        ReviewerRow,
        lambda project: ReviewerRow.id.in_(
            select(DecisionRow.reviewer_id)
            .where(DecisionRow.project_id == project)
            .union(
                select(OpinionRow.reviewer_id).where(OpinionRow.project_id == project),
                select(AuditRow.reviewer_id).where(AuditRow.project_id == project),
            )
        ),
    ),
    RowGroup(ExampleRow, lambda project: ExampleRow.project_id == project),
    RowGroup(ScoringRow, lambda project: ScoringRow.id.in_(_scoring_ids(project))),
    RowGroup(RunRow, lambda project: RunRow.project_id == project),
    RowGroup(CheckpointRow, lambda project: CheckpointRow.run_id.in_(_run_ids(project))),
    RowGroup(ScoreRow, lambda project: ScoreRow.scoring_id.in_(_scoring_ids(project))),
    RowGroup(PredictionRow, lambda project: PredictionRow.scoring_id.in_(_scoring_ids(project))),
    RowGroup(DecisionRow, lambda project: DecisionRow.project_id == project),
    RowGroup(SecondLookRow, lambda project: SecondLookRow.project_id == project),
    RowGroup(OpinionRow, lambda project: OpinionRow.project_id == project),
    RowGroup(AuditRow, lambda project: AuditRow.project_id == project),
    RowGroup(AuditItemRow, lambda project: AuditItemRow.audit_id.in_(_audit_ids(project))),
)
# Tables that backups of older versions do not have.
LATER_TABLES = ("second_look", "opinion", "audit", "audit_item")


def dump_rows(connection: Connection, group: RowGroup, project_id: int) -> Iterator[bytes]:
    """Yield the names of the columns as a JSON list, then each row as one, a line each."""
    yield _line([column.name for column in group.columns])
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
    gone = GONE_COLUMNS.get(group.name, {})
    unknown = set(header) - set(group.table.columns.keys()) - set(gone)
    if unknown:
        raise InputError(
            f"The backup's table {group.name} has the columns {', '.join(sorted(unknown))}, which "
            "this version does not know. Expected a backup of this version or an older one: "
            "update the program."
        )
    if len(set(header)) < len(header):
        raise InputError(
            f"The backup's table {group.name} has a column twice. Expected each once. Use another "
            "backup; nothing was restored."
        )
    checks = [
        _check_gone(gone[name]) if name in gone else _check_of(group.table.columns[name])
        for name in header
    ]
    for number, values in lines:
        if not isinstance(values, list) or len(values) != len(header):
            raise InputError(
                f"Row {number} of the backup's table {group.name} does not have the "
                f"{len(header)} values of its columns."
            )
        _check_missing(group, header)
        row = {}
        for name, check, value in zip(header, checks, values, strict=True):
            try:
                row[name] = check(value)
            except InputError as error:
                place = f"Row {number} of the backup's table {group.name}, column {name}"
                raise InputError(f"{place}, {error} Nothing was restored.") from error
        yield {name: value for name, value in row.items() if name not in gone}


def _check_gone(expected: object) -> Callable[[Any], Any]:
    """Return a check that a column of an older version says what it said of all that is kept."""

    def check(value: Any) -> Any:
        if value is not expected:
            raise InputError(f"holds {value!r:.80}. Expected {expected}.")
        return value

    return check


def _check_missing(group: RowGroup, header: list[str]) -> None:
    """Check that no column is left out that every version of this program has."""
    missing = [
        column.name
        for column in group.table.columns
        if column.name not in header and not column.nullable and column.server_default is None
    ]
    if missing:
        raise InputError(
            f"The backup's table {group.name} lacks the column {', '.join(missing)}. Expected rows "
            "as this program writes them. Use another backup; nothing was restored."
        )


def in_chunks(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in lists of at most ``size``, fewer where they are long."""
    chunk: list[dict[str, Any]] = []
    length = 0
    for row in rows:
        chunk.append(row)
        length += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(chunk) == size or length > LARGEST_CHUNK:
            yield chunk
            chunk, length = [], 0
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
        check_values(line, MOST_VALUES, f"row {number} of its table {group.name}")
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


def _check_of(column: Column[Any]) -> Callable[[Any], Any]:
    """Return what makes a value from the file one for the column, or refuses it."""
    check: Callable[[Any], Any]
    if isinstance(column.type, JSON):
        check = _plain_json
    elif isinstance(column.type, UtcDateTime):
        check = _moment
    else:
        check = _TYPES[column.type.python_type]

    def check_or_none(value: Any) -> Any:
        if value is None and not column.nullable:
            raise InputError("is empty. Expected a value.")
        return None if value is None else check(value)

    return check_or_none


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > LARGEST_INTEGER:
        raise InputError(f"holds {value!r:.80}. Expected a whole number.")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise InputError(f"holds {value!r:.80}. Expected a number.")
    try:
        return float(value)
    except OverflowError as error:
        raise InputError("holds a number beyond any float.") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"holds {value!r:.80}. Expected a text.")
    fault = find_text_fault(value)
    if fault == BROKEN:
        raise InputError("holds a broken Unicode character. Expected plain text.")
    if fault == ZERO:
        raise InputError("holds a NUL character. Expected plain text.")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"holds {value!r:.80}. Expected true or false.")
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"holds {value!r:.80}. Expected a date and time.") from error
    if moment.tzinfo is None:
        raise InputError(f"holds {value!r:.80}. Expected a time with its zone.")
    # Such that it can be shown in every zone of the world.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InputError(
            f"holds {value!r:.80}. Expected a time in the years {_FIRST_YEAR} to {_LAST_YEAR}."
        )
    return moment.astimezone(UTC)


def _plain_json(value: Any) -> Any:
    if not isinstance(value, list | dict):
        raise InputError(f"holds {value!r:.80}. Expected a list or an object.")
    try:
        _text(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (ValueError, RecursionError) as error:
        told = "too deep" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"holds JSON that cannot be stored: {told}.") from error
    return value


_TYPES: Mapping[type, Callable[[Any], Any]] = {
    int: _integer,
    float: _number,
    str: _text,
    bool: _truth,
}


def backup_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    path: Path,
    *,
    with_trainings: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Write a project into a zip archive, which appears when it is complete.

    The rows are those of one moment. Nothing else may work on the project meanwhile, so call it
    as a job.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        path: The archive; one of this name is replaced.
        with_trainings: Also what a training needs to go on, and checkpoints no run uses.
        on_progress: Told about every table and file.

    Returns:
        The path.

    Raises:
        NotFoundError: If there is no such project.
        WorkspaceError: If a file cannot be read, or the archive cannot be written.
    """
    project = get_project(engine, slug)
    remove_abandoned_temporaries(path.parent)  # of backups that were killed
    with open_export(path) as file, zipfile.ZipFile(file, "w") as archive:
        writer = _Writer(archive, on_progress)
        writer.write_rows(engine, project)
        folder = workspace.project_folder(slug)
        writer.write_files(folder, list(_find_files(folder, with_trainings)))
        writer.write_manifest(project)
    return path


def _find_files(folder: Path, with_trainings: bool) -> Iterator[Path]:
    """Yield the project's files, without what is hidden, unfinished, or made again when needed."""
    left_out = {*_LEFT_OUT, *(() if with_trainings else (_TRAININGS,))}
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name not in left_out]
        place = Path(root).relative_to(folder)
        folders[:] = [name for name in folders if not is_index(str(place / name))]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root) / name
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


class _Writer:
    """An archive in the making."""

    def __init__(self, archive: zipfile.ZipFile, on_progress: OnProgress) -> None:
        self._archive = archive
        self._on_progress = on_progress
        self._entries: dict[str, FileEntry] = {}
        self._links: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._seen: dict[tuple[int, int], str] = {}

    def write_rows(self, engine: Engine, project: Project) -> None:
        """Write all tables as they are at one moment."""
        stage = "writing the rows"
        with reading_one_state(engine) as connection:
            for number, group in enumerate(GROUPS):
                self._on_progress(Progress(stage, number, len(GROUPS)))
                lines = dump_rows(connection, group, project.id)
                name = f"{ROWS}/{group.name}.jsonl"
                # The header is no row.
                self._counts[group.name] = self._write(name, lines, zipfile.ZIP_DEFLATED) - 1
        self._on_progress(Progress(stage, len(GROUPS), len(GROUPS)))

    def write_files(self, folder: Path, paths: list[Path]) -> None:
        """Write files; one with several names once."""
        stage = "writing the files"
        for number, path in enumerate(paths):
            self._on_progress(Progress(stage, number, len(paths)))
            name = path.relative_to(folder).as_posix()
            try:
                self._write_file(path, name)
            except OSError as error:
                if error.filename is None or Path(error.filename) != path:
                    raise
                raise WorkspaceError(
                    f"{path} cannot be read: {error.strerror}. Mend its permissions; no backup "
                    "was written."
                ) from error
        self._on_progress(Progress(stage, len(paths), len(paths)))

    def write_manifest(self, project: Project) -> None:
        """Write the list of all that is there."""
        manifest = Manifest(
            slug=project.slug,
            title=project.title,
            kind=project.kind,
            counts=self._counts,
            entries=self._entries,
            links=self._links,
            program=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._archive.writestr(MANIFEST, manifest.dump(), zipfile.ZIP_DEFLATED)

    def _write_file(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            first = self._seen.setdefault((found.st_dev, found.st_ino), name)
            if first != name:
                self._links[name] = first
                return
            pieces = iter(lambda: file.read(PIECE), b"")
            # Images, indexes and vectors of floats: compressing them gains nothing.
            self._write(f"{FILES}/{name}", pieces, zipfile.ZIP_STORED)

    def _write(self, name: str, pieces: Iterator[bytes], compression: int) -> int:
        """Write one file and return in how many pieces it came."""
        info = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
        info.compress_type = compression
        info.external_attr = 0o100644 << 16
        digest, size, count = hashlib.sha256(), 0, 0
        with self._archive.open(info, "w", force_zip64=True) as target:
            for piece in pieces:
                count += 1
                target.write(piece)
                digest.update(piece)
                size += len(piece)
        self._entries[name] = FileEntry(size, digest.hexdigest())
        return count
