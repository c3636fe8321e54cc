"""Every event of a project's review as a table: who decided what, when, and on which evidence."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine, select

from relabel.db.decisions.history import HistoryRow, stream_events
from relabel.db.engine import reading_one_state
from relabel.db.project_rules import Project, project_in
from relabel.db.schema import RunRow
from relabel.db.team.reviewers import Identity, check_lead
from relabel.export.rows import CHUNK
from relabel.exporters.exported import Columns, Exported
from relabel.exporters.registry import EXPORTERS, get_exporter
from relabel.files import open_export
from tracin_core.errors import ConfigurationError

_EVENT: Columns = {"event": "count", "key": "text", "split": "text", "version": "count"}
_WHO: Columns = {
    "action": "text",
    "reviewer": "text",
    "identity": "text",
    "recorded_at": "text",
    "stated_at": "text",
    "source": "text",
}
_AFTER: Columns = {
    "note": "text",
    "seconds_spent": "number",
    "undoes": "count",
    "undone": "flag",
    "in_force": "flag",
    "run": "text",
    "signal": "text",
    "rank": "count",
    "score": "number",
}
_PROBABILITY: Columns = {"suggested_probability": "number"}


def export_history(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | None = None,
    asked_by: Identity | None = None,
) -> bytes | Path:
    """Export every event of a project, undone ones and undos included, the first one first.

    Columns: the event's number, ``key`` and ``split`` of its example and the ``version`` that it
    made; who, what and when (``stated_at`` is what the file of an imported decision says);
    the answer that was given, that stood before, that stands after, and that was suggested, with
    its probability; note, seconds, what it undoes and whether it is undone or in force; and the
    run, signal, rank and score that were shown.

    Args:
        engine: The database.
        project_id: The project.
        format: The name of an exporter of tables.
        path: Where to write; the file appears when it is complete. None for bytes.

        asked_by: Who wants it; None for whoever has the command line, and with it the database.

    Returns:
        The file's content, or its path where one was given.

    Raises:
        ConfigurationError: If the format is unknown, or holds no such table.
        NotFoundError: If there is no such project.
        WorkspaceError: If the file cannot be written.
        NotAllowedError: If there is a lead, and it is somebody else who asks.
    """
    if asked_by is not None:
        check_lead(engine, asked_by, "export the history")
    exporter = get_exporter(format)
    if not exporter.is_table:
        tables = ", ".join(one.name for one in EXPORTERS.values() if one.is_table)
        raise ConfigurationError(
            f"The form {format!r} holds examples, and no history. Choose one of: {tables}."
        )
    with reading_one_state(engine) as connection:
        project = project_in(connection, project_id)

        def write(file: BinaryIO) -> None:
            exported = Exported(columns=list_columns(project), kind=project.kind, task=project.task)
            exporter.write(file, exported, _rows(connection, project))

        if path is None:
            buffer = io.BytesIO()
            write(buffer)
            return buffer.getvalue()
        with open_export(path) as file:
            write(file)
        return path


def list_columns(project: Project) -> Columns:
    """Return the columns of a project's history."""
    is_regression = project.task == "regression"
    what = "value" if is_regression else "label"
    names = (f"given_{what}", f"{what}_before", f"{what}_after", f"suggested_{what}")
    answers: Columns = dict.fromkeys(names, "number" if is_regression else "text")
    return _EVENT | _WHO | answers | ({} if is_regression else _PROBABILITY) | _AFTER


def _rows(connection: Connection, project: Project) -> Iterator[list[dict[str, Any]]]:
    keys = select(RunRow.id, RunRow.key).where(RunRow.project_id == project.id)
    runs = {row.id: row.key for row in connection.execute(keys)}
    for chunk in stream_events(connection, project.id, CHUNK):
        yield [_event(row, project, runs) for row in chunk]


def _event(row: HistoryRow, project: Project, runs: dict[int, str]) -> dict[str, Any]:
    return {
        "event": row.id,
        "key": row.key,
        "split": row.split,
        "version": row.version,
        "action": row.action,
        "reviewer": row.reviewer,
        "identity": row.identity_source,
        "recorded_at": _when(row.created_at),
        "stated_at": _when(row.stated_at),
        "source": row.source,
        **_answers(row, project),
        "note": row.note,
        "seconds_spent": row.seconds_spent,
        "undoes": row.undoes,
        "undone": row.undone,
        "in_force": row.undoable,
        "run": None if row.run_id is None else runs.get(row.run_id),
        "signal": row.signal,
        "rank": row.rank,
        "score": row.score,
    }


def _answers(row: HistoryRow, project: Project) -> dict[str, Any]:
    if project.task == "regression":
        return {
            "given_value": row.given_value,
            "value_before": row.value_before,
            "value_after": row.value_after,
            "suggested_value": row.suggested_value,
        }
    labels = {
        "given_label": row.given_label,
        "label_before": row.label_before,
        "label_after": row.label_after,
        "suggested_label": row.suggested_label,
    }
    named = {
        name: None if label is None else project.classes[label] for name, label in labels.items()
    }
    return named | {"suggested_probability": row.suggested_probability}


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
