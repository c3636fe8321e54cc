"""Parquet files given back: one column has other values, all others and the types stay."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from relabel.archives import make_zip
from relabel.exporters.own.answers import Answers
from relabel.exporters.own.source import refuse
from relabel.importers.files.shared import open_file

if TYPE_CHECKING:
    import pyarrow as pa


def write_all_columnar(file: BinaryIO, answers: Answers) -> None:
    """Write an archive of all files, each called and made as it was.

    Raises:
        InputError: If an answer does not fit the column.
    """
    number = 0
    with make_zip(file) as archive:
        for path in answers.source.files:
            name = archive.name_file("", path.stem, path.suffix)
            # A writer of Parquet looks back at what it has written, which an archive cannot.
            with tempfile.TemporaryFile() as written, archive.open(name) as target:
                number = write_columnar(written, answers, path, number)
                written.seek(0)
                shutil.copyfileobj(written, target)


def write_columnar(file: BinaryIO, answers: Answers, path: Path, number: int = 0) -> int:
    """Write a file in row groups as it has them, with its own schema and compression.

    Args:
        file: Where.
        answers: What the rows get.
        path: Of the person's file.
        number: Of the last row of the files before it.

    Returns:
        The number of its last row.

    Raises:
        InputError: If an answer does not fit the column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(path) as raw, pq.ParquetFile(raw) as source:
        schema = source.schema_arrow
        beside = pa.schema([(name, pa.string()) for name in answers.beside.values()])
        full = pa.schema([*schema, *beside], metadata=schema.metadata)
        kinds = {
            source.metadata.row_group(0).column(place).compression
            for place in range(source.metadata.num_columns if source.num_row_groups else 0)
        }
        compression = kinds.pop() if len(kinds) == 1 else "SNAPPY"
        packed = "NONE" if compression == "UNCOMPRESSED" else compression
        with pq.ParquetWriter(file, full, compression=packed) as writer:
            for group in range(source.num_row_groups):
                table = source.read_row_group(group)
                numbers = range(number + 1, number + 1 + table.num_rows)
                number += table.num_rows
                writer.write_table(_change(table, numbers, answers, full))
    return number


def _change(table: pa.Table, numbers: range, answers: Answers, full: pa.Schema) -> pa.Table:
    import pyarrow as pa

    column = answers.source.column
    place = table.schema.get_field_index(column)
    cells = table.column(place).to_pylist()
    keep = [not answers.leaves_out(number) for number in numbers]
    new = [
        answers.replace(number, cell, typed=True) if kept else cell
        for number, cell, kept in zip(numbers, cells, keep, strict=True)
    ]
    if any(now is not was for now, was in zip(new, cells, strict=True)):
        table = table.set_column(place, table.schema.field(place), _typed(new, table, place))
    names = list(answers.beside.values())
    rows: list[tuple[Any, ...]] = [answers.cells_beside(number) for number in numbers]
    for at, name in enumerate(names):
        shown = [None if row[at] is None else str(row[at]) for row in rows]
        table = table.append_column(name, pa.array(shown, pa.string()))
    table = table.replace_schema_metadata(full.metadata)
    return table if all(keep) else table.filter(pa.array(keep))


def _typed(cells: list[Any], table: pa.Table, place: int) -> pa.Array:
    import pyarrow as pa

    kind = table.schema.field(place).type
    try:
        if pa.types.is_dictionary(kind):
            return pa.array(cells, kind.value_type).dictionary_encode().cast(kind)
        return pa.array(cells, kind)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        name = table.schema.field(place).name
        raise refuse(
            f"The column {name!r:.80} of {kind} cannot hold the answer: {error}."
        ) from error
