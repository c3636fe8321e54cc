"""How the rows of an export become CSV, Parquet or JSONL, a chunk at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

Rows = Iterable[list[dict[str, Any]]]

# A spreadsheet takes a cell that begins so for a formula and runs it (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def column_names(content: str) -> list[str]:
    """Return the export's columns; `content` is "text" or "media_path"."""
    return [
        "key",
        "split",
        content,
        "given_label",
        "label",
        "status",
        "excluded",
        "action",
        "note",
        "reviewer",
        "decided_at",
        "version",
    ]


def safe_cell(value: Any) -> Any:
    """Return a cell that a spreadsheet shows instead of running it."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def write_csv(file: BinaryIO, content: str, chunks: Rows) -> None:
    """Write UTF-8 CSV as in RFC 4180."""
    wrapper = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(wrapper)
    names = column_names(content)
    writer.writerow(names)
    for chunk in chunks:
        writer.writerows([safe_cell(row[name]) for name in names] for row in chunk)
    wrapper.detach()  # flushes, and leaves the file to its owner


def write_jsonl(file: BinaryIO, content: str, chunks: Rows) -> None:
    """Write one JSON object a line, UTF-8."""
    for chunk in chunks:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in chunk)
        file.write("".join(lines).encode())


def write_parquet(file: BinaryIO, content: str, chunks: Rows) -> None:
    """Write Parquet, one row group a chunk; labels are strings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"excluded": pa.bool_(), "version": pa.int32()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in column_names(content)])
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))


WRITERS: dict[str, Callable[[BinaryIO, str, Rows], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}
