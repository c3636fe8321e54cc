"""How the rows of an export become CSV, Parquet or JSONL, a chunk at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Literal

Rows = Iterable[list[dict[str, Any]]]
# Names of the columns, in order, with what each holds.
Columns = dict[str, Literal["text", "number", "count", "flag"]]

# A spreadsheet takes a cell that begins so for a formula and runs it (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: Any) -> Any:
    """Return a cell that a spreadsheet shows instead of running it."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def write_csv(file: BinaryIO, columns: Columns, chunks: Rows) -> None:
    """Write UTF-8 CSV as in RFC 4180."""
    wrapper = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(wrapper)
    writer.writerow([safe_cell(name) for name in columns])
    for chunk in chunks:
        writer.writerows([safe_cell(row[name]) for name in columns] for row in chunk)
    wrapper.detach()  # flushes, and leaves the file to its owner


def write_jsonl(file: BinaryIO, columns: Columns, chunks: Rows) -> None:
    """Write one JSON object a line, UTF-8."""
    for chunk in chunks:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in chunk)
        file.write("".join(lines).encode())


def write_parquet(file: BinaryIO, columns: Columns, chunks: Rows) -> None:
    """Write Parquet, one row group a chunk; labels are strings, values 64-bit floats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "number": pa.float64(), "count": pa.int32(), "flag": pa.bool_()}
    schema = pa.schema([(name, types[holds]) for name, holds in columns.items()])
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            arrays = [
                pa.array([_typed(row[name], holds) for row in chunk], types[holds])
                for name, holds in columns.items()
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _typed(value: Any, holds: str) -> Any:
    """Return a cell as its column's type: a category may be a number, and a number an integer."""
    if value is None or holds not in ("text", "number"):
        return value
    return str(value) if holds == "text" else float(value)


WRITERS: dict[str, Callable[[BinaryIO, Columns, Rows], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}
