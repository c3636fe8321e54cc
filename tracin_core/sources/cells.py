"""The values of Arrow columns as Python has them; a value that many rows share is made once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Bytes of texts that may be laid out side by side.
AT_ONCE = 32 * 2**20


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
    """Whether a column of this type may name the same bytes again and again."""
    return bool(
        pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
        or pa.types.is_run_end_encoded(kind)
        or any(_may_overlap(kind.field(place).type) for place in range(kind.num_fields))
    )
