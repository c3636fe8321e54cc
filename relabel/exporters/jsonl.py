"""JSON Lines, lossless."""

from __future__ import annotations

import json
from typing import BinaryIO

from relabel.exporters.exported import Exported, Rows
from relabel.exporters.registry import register_exporter


@register_exporter(
    "jsonl", "JSON Lines", "jsonl", mime="application/jsonl", order=30, is_table=True
)
def write_jsonl(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write one JSON object a line, UTF-8."""
    for chunk in chunks:
        named = ({name: row[name] for name in exported.columns} for row in chunk)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in named)
        file.write("".join(lines).encode())
