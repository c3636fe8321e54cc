"""Which columns an export has: ours, and for tables those of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from tracin_core.exporters import Columns
from tracin_core.reviews.project_rows import Project
from tracin_core.reviews.schema import ExampleRow

# Rows held in memory at a time.
CHUNK = 5000

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


def lay_out(connection: Connection, project: Project) -> Layout:
    """Return the columns that an export of the project has."""
    fields = _field_columns(connection, project) if project.kind == "table" else {}
    answer = _VALUES if project.task == "regression" else _LABELS
    ours = _BEFORE | answer | _AFTER
    names: dict[str, str] = {}
    for field in fields:
        name = field
        while name in ours or (name != field and (name in fields or name in names.values())):
            name = f"field_{name}"
        names[field] = name
    if names:
        content: Columns = {names[field]: holds for field, holds in fields.items()}
        return Layout(_BEFORE | content | answer | _AFTER, names, None)
    only: Literal["media_path", "text"] = "media_path" if project.kind == "image" else "text"
    return Layout(_BEFORE | {only: "text"} | answer | _AFTER, {}, only)


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
