"""Parquet, lossless and typed."""

from __future__ import annotations

from typing import Any, BinaryIO

from relabel.exporters.exported import Exported, Rows
from relabel.exporters.registry import register_exporter


@register_exporter(
    "parquet",
    "Parquet",
    "parquet",
    mime="application/vnd.apache.parquet",
    order=20,
    is_table=True,
)
def write_parquet(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write Parquet, one row group a chunk; labels are strings, values 64-bit floats."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"text": pa.string(), "number": pa.float64(), "count": pa.int32(), "flag": pa.bool_()}
    schema = pa.schema([(name, types[holds]) for name, holds in exported.columns.items()])
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            arrays = [
                pa.array([_typed(row[name], holds) for row in chunk], types[holds])
                for name, holds in exported.columns.items()
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _typed(value: Any, holds: str) -> Any:
    """Return a cell as its column's type: a category may be a number, and a number an integer."""
    if value is None or holds not in ("text", "number"):
        return value
    return str(value) if holds == "text" else float(value)
