"""Corrected labels out of the database, in any of the forms of ``exporters``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO, overload

from sqlalchemy import Connection, Engine, Select, select

from tracin_core.errors import ConfigurationError
from tracin_core.exporters import EXPORTERS
from tracin_core.files import exported_file
from tracin_core.reviews.database import reading_one_state
from tracin_core.reviews.decision_kinds import list_states
from tracin_core.reviews.events import (
    UNDECIDED,
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
    version_of,
)
from tracin_core.reviews.export_columns import Layout, lay_out
from tracin_core.reviews.project_rows import Project, project_in
from tracin_core.reviews.schema import ExampleRow, ReviewerRow

_EXCLUDED = list_states("exclude")
# Rows held in memory at a time.
CHUNK = 5000


@overload
def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: None = None,
    reviewed_only: bool = False,
) -> bytes: ...


@overload
def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | str,
    reviewed_only: bool = False,
) -> Path: ...


def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | str | None = None,
    reviewed_only: bool = False,
) -> bytes | Path:
    """Export every example with its current label, train split first, by position.

    Columns: ``key``, ``split``, ``media_path`` (image projects), ``text`` (text projects) or the
    columns of the data (tables; one that is called like a column of ours gets ``field_`` before
    its name), ``given_label`` and ``label`` (names; the latter is the current one) or, for
    regression, ``given_value`` and ``value``, ``status``, ``excluded``, and of the effective
    decision ``action``, ``note``, ``reviewer`` and ``decided_at`` (ISO 8601, UTC), empty where
    there is none; ``version`` counts the example's events, and ``source_place`` says where the
    example is in the data that was imported (empty where that is not known). Excluded examples
    are in the file, marked.

    Args:
        engine: The database.
        project_id: The project.
        format: A name in ``EXPORTERS``: "csv" (cells that a spreadsheet would take for a formula
            get a leading apostrophe), "parquet" or "jsonl" (both lossless).
        path: Where to write; the file appears when it is complete. None for bytes.
        reviewed_only: Leave out pending and skipped examples.

    Returns:
        The file's content, or its path where one was given.

    Raises:
        ConfigurationError: If the format is unknown.
        NotFoundError: If there is no such project.
        WorkspaceError: If the file cannot be written; an older one stays as it was.
    """
    if format not in EXPORTERS:
        raise ConfigurationError(
            f"Found the export format {format!r}. Expected one of {', '.join(EXPORTERS)}."
        )
    # The classes and the labels that name them must be of one moment: a project can grow.
    with reading_one_state(engine) as connection:
        project = project_in(connection, project_id)
        if path is None:
            buffer = io.BytesIO()
            _write(connection, project, format, buffer, reviewed_only)
            return buffer.getvalue()
        target = Path(path)
        with exported_file(target) as file:
            _write(connection, project, format, file, reviewed_only)
        return target


def _write(
    connection: Connection,
    project: Project,
    format: str,
    file: BinaryIO,
    reviewed_only: bool,
) -> None:
    layout = lay_out(connection, project)
    rows = _chunks(connection, project, layout, reviewed_only)
    EXPORTERS[format].write(file, layout.columns, rows)


def _chunks(
    connection: Connection, project: Project, layout: Layout, reviewed_only: bool
) -> Iterator[list[dict[str, Any]]]:
    """Yield the export's rows; one statement, so that all show the same moment."""
    query = _query(project.id, layout.content or "fields")
    if reviewed_only:
        query = query.where(status_of_example.not_in(UNDECIDED))
    result = connection.execute(query.execution_options(yield_per=CHUNK))
    for partition in result.partitions():
        yield [_export_row(row._mapping, project, layout) for row in partition]


def _query(project_id: int, content: str) -> Select[*tuple[Any, ...]]:
    return (
        select(
            ExampleRow.key,
            ExampleRow.split,
            getattr(ExampleRow, content),
            ExampleRow.given_label,
            label_of_example.label("label"),
            ExampleRow.given_value,
            value_of_example.label("value"),
            status_of_example.label("status"),
            effective.c.action,
            effective.c.note,
            ReviewerRow.name.label("reviewer"),
            effective.c.created_at,
            version_of(ExampleRow.id).label("version"),
            ExampleRow.source_place,
        )
        .select_from(ExampleRow)
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .join(ReviewerRow, ReviewerRow.id == effective.c.reviewer_id, isouter=True)
        .where(ExampleRow.project_id == project_id)
        .order_by(ExampleRow.split.desc(), ExampleRow.position)
    )


def _export_row(row: Any, project: Project, layout: Layout) -> dict[str, Any]:
    decided_at = row["created_at"]
    return {
        "key": row["key"],
        "split": row["split"],
        **layout.content_of(row),
        **_answer(row, project),
        "status": row["status"],
        "excluded": row["status"] in _EXCLUDED,
        "action": row["action"],
        "note": row["note"],
        "reviewer": row["reviewer"],
        "decided_at": None if decided_at is None else decided_at.astimezone(UTC).isoformat(),
        "version": row["version"],
        "source_place": row["source_place"],
    }


def _answer(row: Any, project: Project) -> dict[str, str | float]:
    if project.task == "regression":
        return {"given_value": row["given_value"], "value": row["value"]}
    return {
        "given_label": project.classes[row["given_label"]],
        "label": project.classes[row["label"]],
    }
