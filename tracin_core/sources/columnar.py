"""Parquet and Arrow files, with what Hugging Face's ``datasets`` writes into them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tracin_core.errors import InputError
from tracin_core.files import check_ordinary
from tracin_core.sources.cells import in_parts, to_values
from tracin_core.sources.csv_rows import MAX_FIELD
from tracin_core.sources.parquet_bounds import (
    BATCH,
    LARGEST_ROWS_PER_BYTE,
    check_batch,
    check_growth,
    choose_batch,
    find_shared,
)
from tracin_core.sources.records import Problem
from tracin_core.sources.rows import Row, Schema, check_column_names, row_problem
from tracin_core.sources.shared_files import open_file
from tracin_core.sources.text_encoding import unreadable

FileKind = Literal["parquet", "arrow"]


class ColumnarReader:
    """Rows of Parquet or Arrow files, of one split or of several."""

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
        is_alone = len(paths) == 1 and kind == "parquet"
        self.name = paths[0].name if is_alone else folder.resolve().name
        self.folder = folder
        self._files = files
        self._kind: FileKind = kind
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
        for split, paths in self._files.items():
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
        for batch in _read_batches(path, self._kind, list(columns)):
            lists = [_to_list(batch.column(name), path) for name in columns]
            yield from zip(*lists, strict=True)

    def _place(self, split: str, in_split: int, path: Path, in_file: int) -> str | None:
        """Return how a program asks for a row of a split, or in which of several files it is."""
        if split:
            return f"{split}[{in_split}]"
        if self._kind == "parquet" and path.name != self.name:
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
def _explained(path: Path) -> Iterator[None]:
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
    with _explained(path):
        check_column_names(schema.names, path)
        _image_columns({}, schema)  # names inside of columns may be damaged too
    return schema, rows


def _open_schema(path: Path, kind: FileKind) -> tuple[pa.Schema, int]:
    with _explained(path):
        if kind == "parquet":
            with open_file(path) as raw, pq.ParquetFile(raw) as file:
                check_growth(path, file.metadata)
                return file.schema_arrow, file.metadata.num_rows
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as reader:
            return reader.schema, 0


def _read_batches(path: Path, kind: FileKind, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with _explained(path):
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
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_stream(mapped) as reader:
        for batch in reader:
            rows += batch.num_rows
            if rows > most:
                raise ValueError(f"it claims {rows:,} rows, of which it cannot hold the bytes")
            check_batch(path, batch.nbytes)
            # A damaged file's offsets may point anywhere in memory.
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
    """Tell whether a Parquet file carries the features of a Hugging Face data set."""
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
