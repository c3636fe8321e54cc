"""What cleanlab calls label issues: one row an example, a low score a bad label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from relabel.exporters.csv import write_csv
from relabel.exporters.exported import Columns, Exported, Rows
from relabel.exporters.parquet import write_parquet
from relabel.exporters.registry import register_exporter

_ISSUES: Columns = {
    "key": "text",
    "split": "text",
    "is_label_issue": "flag",
    "label_score": "number",
    "given_label": "text",
    "predicted_label": "text",
    "label": "text",
    "status": "text",
    "excluded": "flag",
}


@register_exporter(
    "cleanlab",
    "cleanlab frame, CSV",
    "cleanlab.csv",
    mime="text/csv",
    order=60,
    changes="cells that a spreadsheet would run as a formula begin with an apostrophe",
    tasks=("classification",),
    needs_evidence=True,
)
def write_cleanlab_csv(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write the frame as CSV."""
    write_csv(file, *_frame(exported, chunks))


@register_exporter(
    "cleanlab-parquet",
    "cleanlab frame, Parquet",
    "cleanlab.parquet",
    mime="application/vnd.apache.parquet",
    order=61,
    tasks=("classification",),
    needs_evidence=True,
)
def write_cleanlab_parquet(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write the frame as Parquet."""
    write_parquet(file, *_frame(exported, chunks))


def _frame(exported: Exported, chunks: Rows) -> tuple[Exported, Rows]:
    """Return the columns of the frame, and its rows."""
    content: Columns = {name: exported.columns[name] for name in exported.content}
    names: Columns = {name: held for name, held in _ISSUES.items() if name not in content}
    columns = names | content
    return replace(exported, columns=columns), _list_issues(columns, chunks)


def _list_issues(columns: Columns, chunks: Rows) -> Iterator[list[dict[str, Any]]]:
    for chunk in chunks:
        rows = []
        for row in chunk:
            found = {name: row[name] for name in columns if name in row}
            rows.append(found | describe_issue(row))
        yield rows


def describe_issue(row: dict[str, Any]) -> dict[str, Any]:
    """Return whether an example's given label is wrong, and how probable that label is.

    A decision says so; where nobody has decided, another class that models which have not seen
    the example predict, or else the network.
    """
    predicted = row.get("suggested_label") or row.get("predicted_label")
    if row["action"] and row["status"] not in ("skipped", "ambiguous"):
        is_issue = row["excluded"] or row["label"] != row["given_label"]
    else:
        is_issue = predicted is not None and predicted != row["given_label"]
    return {
        "is_label_issue": bool(is_issue),
        "label_score": row.get("unseen_given_probability", row.get("given_probability")),
        "predicted_label": predicted,
    }
