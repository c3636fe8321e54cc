"""The rows of an export: every example with its answer as it stands, and what is known of it.

``lay_out`` decides the columns: ours, and for tables those of the data. ``read_chunks`` reads all
rows in one statement, so that they show the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, func, select
from sqlalchemy.orm import aliased

from relabel.db.decisions.kinds import list_states
from relabel.db.project_rules import Project
from relabel.db.schema import (
    UNDECIDED,
    DecisionRow,
    ExampleRow,
    PredictionRow,
    ReviewerRow,
    RunRow,
    ScoreRow,
    effective,
    label_of_example,
    status_of_example,
    value_of_example,
    version_of,
)
from relabel.exporters.exported import Columns
from relabel.runs.held_out import HeldOut
from relabel.triage.signals import choose_default_signal

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
# What the run that is shown says, where it is asked for.
_PREDICTED_LABEL: Columns = {
    "predicted_label": "text",
    "predicted_probability": "number",
    "given_probability": "number",
}
_PREDICTED_VALUE: Columns = {"predicted_value": "number"}
_RANKS: Columns = {"rank": "count"}
_EXCLUDED = list_states("exclude")
# Rows held in memory at a time.
CHUNK = 5000


@dataclass(frozen=True)
class Layout:
    """The columns of a project's export.

    Attributes:
        columns: All of them, in order.
        evidence: Those of them that the run says.
        field_names: For each column of the data's table its name in the file, which is its own
            unless one of ours is called so; of texts, those that were joined; else empty.
        content: The column with an image's path or a text; None for a table.
    """

    columns: Columns
    field_names: Mapping[str, str]
    content: Literal["media_path", "text"] | None
    evidence: tuple[str, ...] = ()

    def content_of(self, row: Any) -> dict[str, Any]:
        """Return the content's cells of a row that has ``fields`` or the content's column."""
        whole = {} if self.content is None else {self.content: row[self.content]}
        fields = row["fields"] or {} if self.field_names else {}
        return whole | {name: fields.get(field) for field, name in self.field_names.items()}


@dataclass(frozen=True)
class RunEvidence:
    """The run whose predictions and ranks are written.

    Attributes:
        scoring_id: Of its numbers.
        signals: Names of its rankings, the one that people see first in front.
    """

    scoring_id: int
    signals: tuple[str, ...]


def find_evidence(connection: Connection, project_id: int) -> RunEvidence | None:
    """Return the run that a project shows; None where it was never scored."""
    row = connection.execute(
        select(RunRow.scoring_id, RunRow.signals).where(
            RunRow.project_id == project_id, RunRow.is_current, RunRow.scoring_id.is_not(None)
        )
    ).one_or_none()
    if row is None:
        return None
    first = choose_default_signal(row.signals) if row.signals else None
    others = [name for name in row.signals if name != first]
    return RunEvidence(row.scoring_id, (*([first] if first else []), *others))


def lay_out(
    connection: Connection,
    project: Project,
    *,
    with_suggestions: bool = False,
    evidence: RunEvidence | None = None,
) -> Layout:
    """Return the columns that an export of the project has.

    Args:
        connection: To the database.
        project: The project.
        with_suggestions: Whether what models suggest that have not seen an example is among them.
        evidence: The run whose predictions and ranks are among them; None for none.
    """
    fields = _field_columns(connection, project) if project.kind == "table" else _parts(project)
    answer = _VALUES if project.task == "regression" else _LABELS
    after = _AFTER
    if with_suggestions:
        said = _SUGGESTED_VALUE if project.task == "regression" else _SUGGESTED_LABEL
        after = after | said  # a dict of its own: the usual columns are every export's
    says = _list_evidence(project, evidence)
    after = after | says
    ours = _BEFORE | answer | after | ({} if project.kind == "table" else {"text": "text"})
    names: dict[str, str] = {}
    for field in fields:
        name = field
        while name in ours or (name != field and (name in fields or name in names.values())):
            name = f"field_{name}"
        names[field] = name
    content: Columns = {names[field]: holds for field, holds in fields.items()}
    if names and project.kind == "table":
        return Layout(_BEFORE | content | answer | after, names, None, tuple(says))
    only: Literal["media_path", "text"] = "media_path" if project.kind == "image" else "text"
    columns = _BEFORE | {only: "text"} | content | answer | after
    return Layout(columns, names, only, tuple(says))


def _parts(project: Project) -> Columns:
    """Return the columns whose texts were joined; none where there is one, or no text."""
    columns = (project.settings.get("options") or {}).get("text")
    if project.kind != "text" or not isinstance(columns, list):
        return {}
    return dict.fromkeys(columns, "text")


def _list_evidence(project: Project, evidence: RunEvidence | None) -> Columns:
    if evidence is None:
        return {}
    predicted = _PREDICTED_VALUE if project.task == "regression" else _PREDICTED_LABEL
    signals: Columns = {f"signal_{name}": "number" for name in evidence.signals}
    return predicted | (_RANKS if signals else {}) | signals


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


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which examples are written.

    Attributes:
        reviewed_only: Whether what nobody has decided on is left out.
        keeps_excluded: Whether what was excluded is written.
    """

    reviewed_only: bool = False
    keeps_excluded: bool = True


def read_chunks(
    connection: Connection,
    project: Project,
    layout: Layout,
    selection: Selection,
    held_out: Mapping[str, HeldOut],
    evidence: RunEvidence | None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the export's rows; one statement, so that all show the same moment."""
    query = _query(project.id, layout)
    if evidence is not None:
        query = _with_evidence(query, evidence)
    if selection.reviewed_only:
        query = query.where(status_of_example.not_in(UNDECIDED))
    if not selection.keeps_excluded:
        query = query.where(status_of_example.not_in(_EXCLUDED))
    result = connection.execute(query.execution_options(yield_per=CHUNK))
    for partition in result.partitions():
        yield [
            _export_row(row._mapping, project, layout)
            | _suggest(row._mapping, project, held_out)
            | _say(row._mapping, project, layout.evidence)
            for row in partition
        ]


def _with_evidence(
    query: Select[*tuple[Any, ...]], evidence: RunEvidence
) -> Select[*tuple[Any, ...]]:
    """Return a query with what a run says of each example."""
    query = query.add_columns(
        PredictionRow.predicted_label,
        PredictionRow.predicted_probability,
        PredictionRow.given_probability,
        PredictionRow.predicted_value,
    ).join(
        PredictionRow,
        and_(
            PredictionRow.scoring_id == evidence.scoring_id,
            PredictionRow.example_id == ExampleRow.id,
        ),
        isouter=True,
    )
    for place, name in enumerate(evidence.signals):
        score = aliased(ScoreRow)
        query = query.add_columns(score.value.label(f"signal_{name}"))
        query = query.add_columns(score.rank.label("rank")) if place == 0 else query
        query = query.join(
            score,
            and_(
                score.scoring_id == evidence.scoring_id,
                score.signal == name,
                score.example_id == ExampleRow.id,
            ),
            isouter=True,
        )
    return query


def _say(row: Any, project: Project, names: Sequence[str]) -> dict[str, Any]:
    """Return the cells of what the run says of an example."""
    said = {name: row[name] for name in names}
    if said.get("predicted_label") is not None:
        said["predicted_label"] = project.classes[said["predicted_label"]]
    return said


def _query(project_id: int, layout: Layout) -> Select[*tuple[Any, ...]]:
    return (
        select(
            ExampleRow.key,
            ExampleRow.split,
            ExampleRow.position,
            *([getattr(ExampleRow, layout.content)] if layout.content else []),
            *([ExampleRow.fields] if layout.field_names or not layout.content else []),
            ExampleRow.given_label,
            label_of_example.label("label"),
            ExampleRow.given_value,
            value_of_example.label("value"),
            status_of_example.label("status"),
            effective.c.action,
            effective.c.note,
            ReviewerRow.name.label("reviewer"),
            func.coalesce(DecisionRow.stated_at, effective.c.created_at).label("created_at"),
            version_of(ExampleRow.id).label("version"),
            ExampleRow.source_place,
        )
        .select_from(ExampleRow)
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .join(DecisionRow, DecisionRow.id == effective.c.id, isouter=True)
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


def _suggest(row: Any, project: Project, by_split: Mapping[str, HeldOut]) -> dict[str, Any]:
    """Return the cells of what models suggest that have not seen the example."""
    if not by_split:
        return {}
    names = _SUGGESTED_VALUE if project.task == "regression" else _SUGGESTED_LABEL
    nothing: dict[str, Any] = dict.fromkeys(names)
    held_out = by_split.get(row["split"])
    if held_out is None or row["position"] >= len(held_out):
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
        # No column of its own; a score of the given label is made of it.
        "unseen_given_probability": round(said.given_probability, 6),
    }


def _answer(row: Any, project: Project) -> dict[str, str | float]:
    if project.task == "regression":
        return {"given_value": row["given_value"], "value": row["value"]}
    return {
        "given_label": project.classes[row["given_label"]],
        "label": project.classes[row["label"]],
    }
