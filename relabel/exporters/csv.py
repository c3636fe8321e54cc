"""CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any, BinaryIO

from relabel.exporters.exported import Exported, Rows
from relabel.exporters.registry import register_exporter

# A spreadsheet takes a cell that begins so for a formula and runs it (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: Any) -> Any:
    """Return a cell that a spreadsheet shows instead of running it."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


@register_exporter(
    "csv",
    "CSV",
    "csv",
    mime="text/csv",
    order=10,
    is_table=True,
    changes="cells that a spreadsheet would run as a formula begin with an apostrophe",
)
def write_csv(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write UTF-8 CSV as in RFC 4180."""
    wrapper = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(wrapper)
    writer.writerow([safe_cell(name) for name in exported.columns])
    for chunk in chunks:
        writer.writerows([safe_cell(row[name]) for name in exported.columns] for row in chunk)
    wrapper.detach()  # flushes, and leaves the file to its owner
