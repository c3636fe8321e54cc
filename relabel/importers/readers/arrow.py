"""Arrow's own files: a stream of batches, or a file with a list of them, which Feather is too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from tracin_core.errors import InputError

FILE_START = b"ARROW1"
_FIRST_FEATHER = b"FEA1"
_GZIP = b"\x1f\x8b"
_FILE_HEADER = 8  # bytes before the first message of a file with a list
_FRAMES = {b"\x04\x22\x4d\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}
_LOOKED_AT = 2**20  # bytes of a batch
_LARGEST_COLUMN = 2**40  # bytes that are believed


def has_list(path: Path) -> bool:
    """Return whether a file ends with a list of its batches; a stream has none."""
    with path.open("rb") as file:
        return file.read(len(FILE_START)) == FILE_START


@contextmanager
def open_arrow(path: Path) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Map a file into memory, and return its schema and its batches, read one by one.

    Raises:
        InputError: If it is packed, or of the first version of Feather.
        pyarrow.ArrowException: If it is damaged.
        OSError: If it cannot be read.
    """
    _check_form(path)
    with pa.memory_map(str(path)) as mapped:
        if has_list(path):
            with pa.ipc.open_file(mapped) as file:
                places = range(file.num_record_batches)
                yield file.schema, (file.get_batch(place) for place in places)
        else:
            with pa.ipc.open_stream(mapped) as stream:
                yield stream.schema, iter(stream)


def find_compression(path: Path) -> str | None:
    """Return how the batches of a sound file are packed: "lz4", "zstd", or None where they are not.

    Each column's bytes begin with their length and a frame of the compression, at places that can
    be divided by eight.
    """
    with pa.memory_map(str(path)) as mapped:
        mapped.seek(_FILE_HEADER if has_list(path) else 0)
        for message in pa.ipc.MessageReader.open_stream(mapped):
            if message.type == "record batch":
                found = _find_frame(bytes(memoryview(message.body)[:_LOOKED_AT]))
                if found is not None:
                    return found
    return None


def _find_frame(body: bytes) -> str | None:
    for start in range(0, len(body), 8):
        name = _FRAMES.get(body[start + 8 : start + 12])
        length = int.from_bytes(body[start : start + 8], "little", signed=True)
        if name is not None and 0 < length < _LARGEST_COLUMN:
            return name
    return None


def _check_form(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start == _FIRST_FEATHER:
        raise InputError(
            f"{path} is of the first version of Feather, which is read no more. Expected the "
            "second. With an older pandas: pandas.read_feather(path).to_parquet(...)."
        )
    if start.startswith(_GZIP):
        raise InputError(
            f"{path} is packed by gzip, expected an Arrow file as it is, which is read where it "
            f"lies. Unpack it: gunzip {path.name}."
        )
