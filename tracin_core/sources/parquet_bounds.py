"""What a Parquet file may unpack to: looked up in its footer, before anything is decoded.

A file of two kilobytes can stand for gigabytes in three ways. Compression shrinks a run of equal
bytes a millionfold; a dictionary holds a long value once, and a few bytes say that thousands of
rows have it; a value may repeat the beginning of the one before (DELTA_BYTE_ARRAY). The first is
refused by its ratio. Values that lie in a dictionary are read as one, so that equal ones share
their memory. Of what can still grow, fewer rows are decoded at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tracin_core.errors import InputError

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


def check_growth(path: Path, metadata: pq.FileMetaData) -> None:
    """See that a file does not unpack to far more than its size.

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
    """See that a part of a file does not unpack to far more than the file's size.

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
