"""Export the current labels of a project, in any of the formats of ``exporters``.

``lay_out`` decides the columns: ours, and for tables those of the data. ``export_labels`` reads
all rows in one statement, so that they show the same moment, and writes the file whole or not at
all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

from sqlalchemy import Connection, Engine, Select, select

from relabel.db.decision_kinds import list_states
from relabel.db.engine import reading_one_state
from relabel.db.project_rules import Project, project_in
from relabel.db.reviewers import Identity, check_lead
from relabel.db.schema import (
    UNDECIDED,
    ExampleRow,
    ReviewerRow,
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
    version_of,
)
from relabel.exporters.registry import EXPORTERS, Columns
from relabel.files import open_export
from relabel.runs.held_out import HeldOut
from tracin_core.errors import ConfigurationError

_BEFORE: Columns = {"key": "text", "split": "text"}
_LABELS: Columns = {"given_label": "text", "label": "text"}
_VALUES: Columns = {"given_value": "number", "value": "number"}
_AFTER: Columns = {
    "status": "text",
    "excluded": "flag",
    "action": "text",
    "note": "text",
    "reviewer": "text",
    "decided_at": "text",
    "version": "count",
    "source_place": "text",
}
# What models that have not seen an example say, where the run that is handed over has it.
_SUGGESTED_LABEL: Columns = {"suggested_label": "text", "suggested_probability": "number"}
_SUGGESTED_VALUE: Columns = {"suggested_value": "number"}
_EXCLUDED = list_states("exclude")
# Rows held in memory at a time.
CHUNK = 5000


@dataclass(frozen=True)
class Layout:
    """The columns of a project's export.

    Attributes:
        columns: All of them, in order.
        field_names: For each column of the data's table its name in the file, which is its own
            unless one of ours is called so; empty for images and texts.
        content: The column with an image's path or a text; None for a table.
    """

    columns: Columns
    field_names: Mapping[str, str]
    content: Literal["media_path", "text"] | None

    def content_of(self, row: Any) -> dict[str, Any]:
        """Return the content's cells of a row that has ``fields`` or the content's column."""
        if self.content is not None:
            return {self.content: row[self.content]}
        fields = row["fields"] or {}
        return {name: fields.get(field) for field, name in self.field_names.items()}


def lay_out(connection: Connection, project: Project, *, with_suggestions: bool = False) -> Layout:
    """Return the columns that an export of the project has.

    Args:
        connection: To the database.
        project: The project.
        with_suggestions: Whether what models suggest that have not seen an example is among them.
    """
    fields = _field_columns(connection, project) if project.kind == "table" else {}
    answer = _VALUES if project.task == "regression" else _LABELS
    after = _AFTER
    if with_suggestions:
        said = _SUGGESTED_VALUE if project.task == "regression" else _SUGGESTED_LABEL
        after = after | said  # a dict of its own: the usual columns are every export's
    ours = _BEFORE | answer | after
    names: dict[str, str] = {}
    for field in fields:
        name = field
        while name in ours or (name != field and (name in fields or name in names.values())):
            name = f"field_{name}"
        names[field] = name
    if names:
        content: Columns = {names[field]: holds for field, holds in fields.items()}
        return Layout(_BEFORE | content | answer | after, names, None)
    only: Literal["media_path", "text"] = "media_path" if project.kind == "image" else "text"
    return Layout(_BEFORE | {only: "text"} | answer | after, {}, only)


def _field_columns(connection: Connection, project: Project) -> Columns:
    """Return the columns of the data's table, from its description or else from its rows."""
    described = project.settings.get("columns", ())
    if described:
        return {
            column["name"]: "number" if column["kind"] == "number" else "text"
            for column in described
        }
    columns: Columns = {}
    query = select(ExampleRow.fields).where(
        ExampleRow.project_id == project.id, ExampleRow.fields.is_not(None)
    )
    for fields in connection.scalars(query.execution_options(yield_per=CHUNK)):
        for name, value in fields.items():
            if isinstance(value, str):
                columns[name] = "text"
            columns.setdefault(name, "number")
    return columns


@overload
def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: None = None,
    reviewed_only: bool = False,
    held_out: HeldOut | None = None,
    asked_by: Identity | None = None,
) -> bytes: ...


@overload
def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | str,
    reviewed_only: bool = False,
    held_out: HeldOut | None = None,
    asked_by: Identity | None = None,
) -> Path: ...


def export_labels(
    engine: Engine,
    project_id: int,
    *,
    format: str,
    path: Path | str | None = None,
    reviewed_only: bool = False,
    held_out: HeldOut | None = None,
    asked_by: Identity | None = None,
) -> bytes | Path:
    """Export every example with its current label, train split first, by position.

    Columns: ``key``, ``split``, ``media_path`` (image projects), ``text`` (text projects) or the
    columns of the data (tables; one that is called like a column of ours gets ``field_`` before
    its name), ``given_label`` and ``label`` (names; the latter is the current one) or, for
    regression, ``given_value`` and ``value``, ``status``, ``excluded``, and of the effective
    decision ``action``, ``note``, ``reviewer`` and ``decided_at`` (ISO 8601, UTC), empty where
    there is none; ``version`` counts the example's events, and ``source_place`` says where the
    example is in the data that was imported (empty where that is not known). Excluded examples
    are in the file, marked. With ``held_out`` there are, at the end, ``suggested_label`` and
    ``suggested_probability`` or, for regression, ``suggested_value``: what models say that have
    not seen the example, and empty for test examples.

    Args:
        engine: The database.
        project_id: The project.
        format: A name in ``EXPORTERS``: "csv" (cells that a spreadsheet would take for a formula
            get a leading apostrophe), "parquet" or "jsonl" (both lossless).
        path: Where to write; the file appears when it is complete. None for bytes.
        reviewed_only: Leave out pending and skipped examples.
        held_out: Of the project's current run, as ``runs.held_out.open_of_run`` gives it.
        asked_by: Who wants it; None for whoever has the command line, and with it the database.

    Returns:
        The file's content, or its path where one was given.

    Raises:
        ConfigurationError: If the format is unknown.
        NotFoundError: If there is no such project.
        WorkspaceError: If the file cannot be written; an older one stays as it was.
        NotAllowedError: If there is a lead, and it is somebody else who asks.
    """
    if asked_by is not None:
        check_lead(engine, asked_by, "export the labels")
    if format not in EXPORTERS:
        raise ConfigurationError(
            f"Found the export format {format!r}. Expected one of {', '.join(EXPORTERS)}."
        )
    # The classes and the labels that name them must be of one moment: a project can grow.
    with reading_one_state(engine) as connection:
        project = project_in(connection, project_id)
        if path is None:
            buffer = io.BytesIO()
            _write(connection, project, format, buffer, reviewed_only, held_out)
            return buffer.getvalue()
        target = Path(path)
        with open_export(target) as file:
            _write(connection, project, format, file, reviewed_only, held_out)
        return target


def _write(
    connection: Connection,
    project: Project,
    format: str,
    file: BinaryIO,
    reviewed_only: bool,
    held_out: HeldOut | None,
) -> None:
    layout = lay_out(connection, project, with_suggestions=held_out is not None)
    rows = _chunks(connection, project, layout, reviewed_only, held_out)
    EXPORTERS[format].write(file, layout.columns, rows)


def _chunks(
    connection: Connection,
    project: Project,
    layout: Layout,
    reviewed_only: bool,
    held_out: HeldOut | None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the export's rows; one statement, so that all show the same moment."""
    query = _query(project.id, layout.content or "fields")
    if reviewed_only:
        query = query.where(status_of_example.not_in(UNDECIDED))
    result = connection.execute(query.execution_options(yield_per=CHUNK))
    for partition in result.partitions():
        yield [
            _export_row(row._mapping, project, layout) | _suggest(row._mapping, project, held_out)
            for row in partition
        ]


def _query(project_id: int, content: str) -> Select[*tuple[Any, ...]]:
    return (
        select(
            ExampleRow.key,
            ExampleRow.split,
            ExampleRow.position,
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


def _suggest(row: Any, project: Project, held_out: HeldOut | None) -> dict[str, Any]:
    """Return the cells of what models suggest that have not seen the example."""
    if held_out is None:
        return {}
    names = _SUGGESTED_VALUE if project.task == "regression" else _SUGGESTED_LABEL
    nothing: dict[str, Any] = dict.fromkeys(names)
    if row["split"] != "train" or row["position"] >= len(held_out):
        return nothing
    try:
        if project.task == "regression":
            return {"suggested_value": held_out.value(row["position"])}
        said = held_out.opinion(row["position"], row["given_label"])
    except ValueError:  # damaged: the corrected labels are what an export is for
        return nothing
    return {
        "suggested_label": project.classes[said.label],
        "suggested_probability": round(said.probability, 6),
    }


def _answer(row: Any, project: Project) -> dict[str, str | float]:
    if project.task == "regression":
        return {"given_value": row["given_value"], "value": row["value"]}
    return {
        "given_label": project.classes[row["given_label"]],
        "label": project.classes[row["label"]],
    }
