"""Parquet and Arrow files, with what Hugging Face's ``datasets`` writes into them.

A Parquet file of two kilobytes can stand for gigabytes in three ways. Compression shrinks a run of
equal bytes a millionfold; a dictionary holds a long value once, and a few bytes say that thousands
of rows have it; a value may repeat the beginning of the one before (DELTA_BYTE_ARRAY). All of it
is looked up in the footer, before anything is decoded. The first is refused by its ratio. Values
that lie in a dictionary are read as one, so that equal ones share their memory. Of what can still
grow, fewer rows are decoded at a time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from relabel.importers.files.encoding import unreadable
from relabel.importers.files.shared import open_file
from relabel.importers.readers.arrow import open_arrow
from relabel.importers.readers.csv import MAX_FIELD
from relabel.importers.records import Problem, Row, Schema, check_column_names, row_problem
from tracin_core.errors import InputError
from tracin_core.files import check_ordinary

BATCH = 512  # rows; with photographs in them some hundred megabytes at most
# Below this many bytes nothing is too much; above it, what a sound file gains by compression.
SMALL = 256 * 2**20
LARGEST_GROWTH = 200
# Rows that one byte of a file may stand for: examples differ, and a difference takes bytes.
LARGEST_ROWS_PER_BYTE = 1000
# Bytes that the values of one batch may take where each could be the longest: of a dictionary,
# before it is read as one; and of columns for which there is no such way.
_WORST_SHARED = 128 * 2**20
_WORST_BATCH = 32 * 2**20
_DICTIONARIES = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}
_NUMBER_BYTES = 16  # of one element of a list, with its place in it
# Bytes of texts that may be laid out side by side.
AT_ONCE = 32 * 2**20
# A table in Arrow's format by itself; "saved" for those of a data set that its folder describes.
FileKind = Literal["parquet", "arrow", "saved"]


def check_growth(path: Path, metadata: pq.FileMetaData) -> None:
    """Check that a file does not unpack to far more than its size.

    Raises:
        InputError: If it does.
    """
    size = path.stat().st_size
    for group in range(metadata.num_row_groups):
        needed = sum(_decoded_bytes(leaf, column) for leaf, column in _columns(metadata, group))
        check_batch(path, needed)
    rows = metadata.num_rows
    if rows > LARGEST_ROWS_PER_BYTE * size:
        raise InputError(
            f"{path} has {size:,} bytes and claims {rows:,} rows, expected at most "
            f"{LARGEST_ROWS_PER_BYTE:,} rows a byte: a file like this is made to run for ever. "
            "Write the table again without its repeated rows."
        )


def check_batch(path: Path, needed: int) -> None:
    """Check that a part of a file does not unpack to far more than the file's size.

    Raises:
        InputError: If it does.
    """
    size = path.stat().st_size
    largest = max(SMALL, LARGEST_GROWTH * size)
    if needed > largest:
        raise InputError(
            f"{path} has {size:,} bytes, and {needed / 2**20:,.0f} MB when unpacked. Expected at "
            f"most {largest / 2**20:,.0f} MB for its size: a file like this is made to fill the "
            "memory. If it is sound, write it again as CSV or JSON lines."
        )


def find_shared(metadata: pq.FileMetaData) -> list[str]:
    """Return the paths of the columns whose values are to be read as a dictionary."""
    found = {
        column.path_in_schema
        for group in range(metadata.num_row_groups)
        for leaf, column in _columns(metadata, group)
        if leaf.max_repetition_level == 0
        and column.physical_type == "BYTE_ARRAY"
        and not _DICTIONARIES.isdisjoint(column.encodings)
        and column.total_uncompressed_size * BATCH > _WORST_SHARED
    }
    return sorted(found)


def choose_batch(metadata: pq.FileMetaData, shared: Collection[str]) -> int:
    """Return how many rows may be decoded at a time, 1 to ``BATCH``.

    Args:
        metadata: Of the file.
        shared: Columns that are read as a dictionary.
    """
    worst = 0
    for group in range(metadata.num_row_groups):
        in_group = sum(
            _longest_value(leaf, column)
            for leaf, column in _columns(metadata, group)
            if column.path_in_schema not in shared
        )
        worst = max(worst, in_group)
    return max(1, min(BATCH, _WORST_BATCH // max(worst, 1)))


def _longest_value(leaf: pq.ColumnSchema, column: pq.ColumnChunkMetaData) -> int:
    """Return the bytes of one row of a column, where a few bytes of the file can repeat them."""
    if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return int(leaf.length)
    grows = "DELTA_BYTE_ARRAY" in column.encodings
    return int(column.total_uncompressed_size) if grows else 0


def _decoded_bytes(leaf: pq.ColumnSchema, column: pq.ColumnChunkMetaData) -> int:
    """Return the bytes of a column: as unpacked, or, of lists, by the elements it claims.

    A list's elements may be runs of one number, all of them in a single row.
    """
    unpacked = int(column.total_uncompressed_size)
    if leaf.max_repetition_level == 0:
        return unpacked
    return max(unpacked, int(column.num_values) * _NUMBER_BYTES)


def _columns(
    metadata: pq.FileMetaData, group: int
) -> Iterator[tuple[pq.ColumnSchema, pq.ColumnChunkMetaData]]:
    row_group = metadata.row_group(group)
    for number in range(row_group.num_columns):
        yield metadata.schema.column(number), row_group.column(number)


def to_values(column: pa.Array) -> list[Any]:
    """Return a column's values; bytes that are no UTF-8 become lone surrogates, row by row.

    Raises:
        ValueError: If the column's type is none that rows of examples have.
        UnicodeDecodeError: If a text inside a list is no UTF-8.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _to_shared(column)
    if pa.types.is_struct(kind):
        return _to_objects(column)
    if _is_text(kind):
        return _to_texts(column)
    found: list[Any] = column.to_pylist()
    return found


def in_parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in parts whose values take no more memory than can be spared.

    Views of texts and lists may name the same bytes for every row, so that a small batch stands
    for many gigabytes; such columns are looked at row by row.
    """
    step = 1 if any(_may_overlap(column.type) for column in batch.columns) else batch.num_rows
    for start in range(0, batch.num_rows, max(step, 1)):
        yield batch.slice(start, step)


def _to_shared(column: pa.DictionaryArray) -> list[Any]:
    """Return the values of a column with a dictionary, each made once; unused ones never.

    Where all of them together are small, they are laid out by Arrow, which is four times as fast.
    """
    if _laid_out_bytes(column) <= AT_ONCE:
        return to_values(column.dictionary_decode())
    places = column.indices.to_pylist()
    used = sorted({place for place in places if place is not None})
    values = dict(
        zip(used, to_values(column.dictionary.take(pa.array(used, pa.int64()))), strict=True)
    )
    return [None if place is None else values[place] for place in places]


def _laid_out_bytes(column: pa.DictionaryArray) -> int:
    """Return how many bytes the texts of a column take without its dictionary."""
    kind = column.dictionary.type
    if not (_is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return AT_ONCE + 1
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return int(pc.sum(lengths).as_py() or 0)


def _to_objects(column: pa.StructArray) -> list[Any]:
    names = [field.name for field in column.type]
    # `flatten` lays the struct's own gaps over its children.
    children = [to_values(child) for child in column.flatten()]
    gaps = column.is_null().to_pylist()
    rows = zip(*children, strict=True) if children else iter([()] * len(column))
    return [
        None if gap else dict(zip(names, row, strict=True))
        for gap, row in zip(gaps, rows, strict=True)
    ]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _to_texts(column: pa.Array) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        is_large = pa.types.is_large_string(column.type)
    found = column.cast(pa.large_binary() if is_large else pa.binary()).to_pylist()
    return [None if raw is None else raw.decode("utf-8", "surrogateescape") for raw in found]


def _may_overlap(kind: pa.DataType) -> bool:
    """Return whether a column of this type may name the same bytes again and again."""
    return bool(
        pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
        or pa.types.is_run_end_encoded(kind)
        or any(_may_overlap(kind.field(place).type) for place in range(kind.num_fields))
    )


class ColumnarReader:
    """Rows of Parquet or Arrow files, of one split or of several.

    Attributes:
        files: By split; the one split "" where the data has none.
        kind: Of all files.
    """

    def __init__(
        self,
        files: Mapping[str, Sequence[Path]],
        folder: Path,
        *,
        kind: FileKind,
        features: Mapping[str, Any] | None = None,
    ) -> None:
        """Read the files' schemas.

        Args:
            files: By split; the one split "" where the data has none.
            folder: What relative paths in the data are relative to.
            kind: Of all files.
            features: As ``dataset_info.json`` has them; None to take those of the first file.
        """
        paths = [path for of_split in files.values() for path in of_split]
        for path in paths:
            check_ordinary(path, "a Parquet or Arrow file")
        is_alone = len(paths) == 1 and kind != "saved"
        self.name = paths[0].name if is_alone else folder.resolve().name
        self.folder = folder
        self.files = files
        self.kind: FileKind = kind
        schemas = [_read_schema(path, kind) for path in paths]
        known = features or _features_of(schemas[0][0])
        _check_same_columns([schema for schema, _ in schemas], files)
        self.schema = Schema(
            columns=tuple(schemas[0][0].names),
            class_names=_class_names(known),
            image_columns=_image_columns(known, schemas[0][0]),
            typed=True,
            splits=tuple(name for name in files if name),
            num_rows=sum(rows for _, rows in schemas) if kind == "parquet" else None,
        )

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows, numbered from 1 through all files."""
        number = 0
        for split, paths in self.files.items():
            in_split = 0
            for path in paths:
                in_file = 0
                for values in self._read_file(path, columns):
                    place = self._place(split, in_split, path, in_file)
                    number, in_split, in_file = number + 1, in_split + 1, in_file + 1
                    longest = max((len(v) for v in values if type(v) is str), default=0)
                    if longest > MAX_FIELD:
                        yield _too_long(number, longest)
                    else:
                        yield Row(number, values, split or None, place)

    def _read_file(self, path: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for batch in _read_batches(path, self.kind, list(columns)):
            lists = [_to_list(batch.column(name), path) for name in columns]
            yield from zip(*lists, strict=True)

    def _place(self, split: str, in_split: int, path: Path, in_file: int) -> str | None:
        """Return how a program asks for a row of a split, or in which of several files it is."""
        if split:
            return f"{split}[{in_split}]"
        if self.kind == "parquet" and path.name != self.name:
            return f"{path.name}, row {in_file + 1}"
        return None


def _too_long(number: int, length: int) -> Problem:
    """Return the problem of a row that is told at once: even to look at its end takes time."""
    return row_problem(
        number,
        f"A cell has {length:,} characters, expected at most {MAX_FIELD:,}. Cut it, or split it "
        "into several rows.",
        "cell too long",
    )


def _to_list(column: pa.Array, path: Path) -> list[Any]:
    try:
        return to_values(column)
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise  # which whoever bounds the memory explains
    except OSError as error:
        if isinstance(error, pa.ArrowException) or error.errno is None:
            raise _damaged(path, error) from error
        raise unreadable(path, error) from error
    except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read: {' '.join(str(error).split())[:300]}. Expected a whole "
        "Parquet or Arrow file. Write or download it again."
    )


def _read_schema(path: Path, kind: FileKind) -> tuple[pa.Schema, int]:
    """Return a file's schema, its names readable, and for Parquet how many rows it has."""
    schema, rows = _open_schema(path, kind)
    with _translate_errors(path):
        check_column_names(schema.names, path)
        _image_columns({}, schema)  # names inside of columns may be damaged too
    return schema, rows


def _open_schema(path: Path, kind: FileKind) -> tuple[pa.Schema, int]:
    with _translate_errors(path):
        if kind == "parquet":
            with open_file(path) as raw, pq.ParquetFile(raw) as file:
                check_growth(path, file.metadata)
                return file.schema_arrow, file.metadata.num_rows
        with open_arrow(path) as (schema, _):
            return schema, 0


def _read_batches(path: Path, kind: FileKind, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with _translate_errors(path):
        if kind == "parquet":
            yield from _read_parquet(path, columns)
        else:
            yield from _read_arrow(path, columns)


def _read_parquet(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with open_file(path) as raw, pq.ParquetFile(raw) as file:
        shared = find_shared(file.metadata)
        batch = choose_batch(file.metadata, shared)
    try:
        with open_file(path) as raw, pq.ParquetFile(raw, read_dictionary=shared) as file:
            yield from file.iter_batches(batch_size=batch, columns=columns)
    finally:
        # A table is read several times; what one reading took is not held for the next.
        pa.default_memory_pool().release_unused()


def _read_arrow(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    rows, most = 0, LARGEST_ROWS_PER_BYTE * path.stat().st_size
    with open_arrow(path) as (_, batches):
        for batch in batches:
            rows += batch.num_rows
            if rows > most:
                raise ValueError(f"it claims {rows:,} rows, of which it cannot hold the bytes")
            # A damaged file's offsets may point anywhere in memory, and lengths end anywhere: these
            # are compared first, because to count the bytes is to follow them.
            batch.validate()
            check_batch(path, batch.nbytes)
            batch.validate(full=True)
            for start in range(0, batch.num_rows, BATCH):
                yield from in_parts(batch.slice(start, BATCH).select(columns))


def _check_same_columns(schemas: Sequence[pa.Schema], files: Mapping[str, Sequence[Path]]) -> None:
    paths = [path for paths in files.values() for path in paths]
    for schema, path in zip(schemas, paths, strict=True):
        if set(schema.names) != set(schemas[0].names):
            raise InputError(
                f"{path} has the columns {', '.join(schema.names)}, but {paths[0]} has "
                f"{', '.join(schemas[0].names)}. Expected the same in all files of a data set. "
                "Import the files one by one, or write them again with the same columns."
            )


def _features_of(schema: pa.Schema) -> Mapping[str, Any]:
    """Return the features that ``datasets`` writes beside an Arrow schema."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = found["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def is_huggingface(path: Path) -> bool:
    """Return whether a Parquet file carries the features of a Hugging Face data set."""
    return bool(_features_of(_read_schema(path, "parquet")[0]))


def _class_names(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of classes by column, also where a cell is a list of them."""
    found = {}
    for name, feature in features.items():
        inner = feature.get("feature") if isinstance(feature, dict) else None
        for one in (feature, inner):
            if isinstance(one, dict) and isinstance(one.get("names"), list):
                found[name] = tuple(map(str, one["names"]))
    return found


def _image_columns(features: Mapping[str, Any], schema: pa.Schema) -> frozenset[str]:
    """Return the columns with image data: declared so, or made of a path and bytes."""
    declared = {
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "Image"
    }
    for field in schema:
        is_struct = pa.types.is_struct(field.type)
        if is_struct and {child.name for child in field.type} == {"bytes", "path"}:
            declared.add(field.name)
    return frozenset(declared & set(schema.names))
