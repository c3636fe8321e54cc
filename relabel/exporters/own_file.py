"""The person's own file, or files, with the answers that were decided on."""

from __future__ import annotations

import gzip
from typing import BinaryIO, cast

from relabel.exporters.exported import Exported, Rows
from relabel.exporters.own.answers import find_answers
from relabel.exporters.own.columnar import write_all_columnar, write_arrow, write_columnar
from relabel.exporters.own.delimited import write_delimited
from relabel.exporters.own.json_objects import write_objects
from relabel.exporters.own.source import open_own
from relabel.exporters.registry import OF_SOURCE, register_exporter
from relabel.importers.files.shared import share_open_files
from relabel.importers.readers.csv import DelimitedReader
from relabel.importers.readers.json_lines import JsonLinesReader
from relabel.text import counted


@register_exporter("own", "Your own file", OF_SOURCE, mime="application/octet-stream", order=40)
def write_own_file(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write the imported file again: its columns and rows as they are, corrected labels in it."""
    from relabel.importers.readers.parquet import ColumnarReader

    with share_open_files():
        source = open_own(exported)
        answers = find_answers(exported, source, chunks)
        reader = source.table.reader
        with source.files[0].open("rb") as raw:
            is_packed = raw.read(2) == b"\x1f\x8b"
        packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if is_packed else None
        target = cast("BinaryIO", packed or file)
        if isinstance(reader, DelimitedReader):
            write_delimited(target, reader, answers, protects=exported.own.protects)
        elif isinstance(reader, JsonLinesReader):
            write_objects(target, reader, answers)
        elif isinstance(reader, ColumnarReader) and reader.kind == "arrow":
            write_arrow(target, answers, source.files[0])
        elif len(source.files) == 1:
            write_columnar(target, answers, source.files[0])
        else:
            write_all_columnar(target, answers)
        if packed is not None:
            packed.close()
    changed = counted(answers.num_changed, "row")
    left_out = f", {answers.num_left_out:,} left out" if answers.num_left_out else ""
    exported.tell(f"{source.name}: {changed} with another {exported.answer}{left_out}.")
