"""Parquet and Arrow files given back: one column has other values, all others and types stay."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from relabel.archives import make_zip
from relabel.exporters.own.answers import Answers
from relabel.exporters.own.source import refuse
from relabel.importers.files.shared import open_file
from relabel.importers.readers.arrow import find_compression, has_list, open_arrow

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
    import pyarrow.parquet as pq

    with open_file(path) as raw, pq.ParquetFile(raw) as source:
        full = _add_columns(source.schema_arrow, answers)
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


def write_arrow(file: BinaryIO, answers: Answers, path: Path) -> None:
    """Write an Arrow file in batches as it has them, with its own form, schema and compression.

    Args:
        file: Where.
        answers: What the rows get.
        path: Of the person's file.

    Raises:
        InputError: If an answer does not fit the column.
    """
    import pyarrow as pa

    number, words = 0, _Words()
    # What a word of a dictionary stands for may be added, where an answer has a new one.
    how = pa.ipc.IpcWriteOptions(
        compression=find_compression(path), emit_dictionary_deltas=True, unify_dictionaries=False
    )
    make = pa.ipc.new_file if has_list(path) else pa.ipc.new_stream
    with open_arrow(path) as (schema, batches):
        full = _add_columns(schema, answers)
        with _left_open(file) as target, make(target, full, options=how) as writer:
            for batch in batches:
                table = pa.Table.from_batches([batch])
                numbers = range(number + 1, number + 1 + batch.num_rows)
                number += batch.num_rows
                changed = _change(table, numbers, answers, full, words)
                for one in changed.combine_chunks().to_batches() if changed.num_rows else ():
                    writer.write_batch(one)


@contextmanager
def _left_open(file: BinaryIO) -> Iterator[pa.PythonFile]:
    """Yield a file as Arrow writes to it, without closing the file itself."""
    import pyarrow as pa

    target = pa.PythonFile(file, mode="w")
    yield target
    target.flush()


class _Words:
    """The dictionary of the answers' column, which may only grow from one batch to the next."""

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def encode(self, cells: list[Any], kind: pa.DictionaryType, known: pa.Array) -> pa.Array:
        """Return cells as places in the dictionary, those of the person's file first."""
        import pyarrow as pa

        for word in (*known.to_pylist(), *(cell for cell in cells if cell is not None)):
            self._places.setdefault(word, len(self._places))
        places = [None if cell is None else self._places[cell] for cell in cells]
        return pa.DictionaryArray.from_arrays(
            pa.array(places, kind.index_type),
            pa.array(list(self._places), kind.value_type),
            ordered=kind.ordered,
        )


def _add_columns(schema: pa.Schema, answers: Answers) -> pa.Schema:
    import pyarrow as pa

    beside = [pa.field(name, pa.string()) for name in answers.beside.values()]
    return pa.schema([*schema, *beside], metadata=schema.metadata)


def _change(
    table: pa.Table,
    numbers: range,
    answers: Answers,
    full: pa.Schema,
    words: _Words | None = None,
) -> pa.Table:
    import pyarrow as pa

    column = answers.source.column
    place = table.schema.get_field_index(column)
    cells = table.column(place).to_pylist()
    keep = [not answers.leaves_out(number) for number in numbers]
    new = [
        answers.replace(number, cell, typed=True) if kept else cell
        for number, cell, kept in zip(numbers, cells, keep, strict=True)
    ]
    is_changed = any(now is not was for now, was in zip(new, cells, strict=True))
    if is_changed or (words is not None and pa.types.is_dictionary(table.column(place).type)):
        table = table.set_column(place, table.schema.field(place), _typed(new, table, place, words))
    names = list(answers.beside.values())
    rows: list[tuple[Any, ...]] = [answers.cells_beside(number) for number in numbers]
    for at, name in enumerate(names):
        shown = [None if row[at] is None else str(row[at]) for row in rows]
        table = table.append_column(name, pa.array(shown, pa.string()))
    table = table.replace_schema_metadata(full.metadata)
    return table if all(keep) else table.filter(pa.array(keep))


def _typed(cells: list[Any], table: pa.Table, place: int, words: _Words | None) -> pa.Array:
    import pyarrow as pa

    kind = table.schema.field(place).type
    try:
        if pa.types.is_dictionary(kind) and words is not None:
            return words.encode(cells, kind, table.column(place).chunk(0).dictionary)
        if pa.types.is_dictionary(kind):
            return pa.array(cells, kind.value_type).dictionary_encode().cast(kind)
        return pa.array(cells, kind)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        name = table.schema.field(place).name
        raise refuse(
            f"The column {name!r:.80} of {kind} cannot hold the answer: {error}."
        ) from error
