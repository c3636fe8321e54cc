"""Encoded examples on disk, so that large data need not be in memory and is decoded once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracin_core.errors import InputError
from tracin_core.files import atomic_folder, flush_to_disk, naming

if TYPE_CHECKING:
    from tracin_core.examples.encoding import Encoder
    from tracin_core.examples.records import Content

# What NumPy raises for headers that were changed, beside ValueError: they are Python literals.
_HEADER_ERRORS = (SyntaxError, TokenError, RecursionError, MemoryError, TypeError, KeyError)
# Examples that are encoded before they are written, and between two reports.
ROWS_WRITTEN = 512
# Told how many examples are encoded; what it raises ends the work.
OnEncoded = Callable[[int], None]


def name_cache(encoder: Encoder, content_hash: str) -> str:
    """Return the name of the cache of some contents under an encoder.

    Args:
        encoder: What makes the inputs.
        content_hash: Digest of the contents in order; labels have no part in it, so a changed
            label leaves the cache as it is.
    """
    made_from = json.dumps([content_hash, encoder.to_json()], sort_keys=True)
    return hashlib.blake2b(made_from.encode(), digest_size=12).hexdigest()


def open_cache(folder: Path, encoder: Encoder, count: int) -> npt.NDArray[Any] | None:
    """Open a cache as a read-only memory map, shape ``(N, ...)``; None where it is not whole."""
    if not count:
        return np.zeros((0, *encoder.stored_shape), dtype=encoder.stored_type)
    try:
        stored: npt.NDArray[Any] = np.load(folder / "inputs.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, *_HEADER_ERRORS):
        return None
    whole = stored.shape == (count, *encoder.stored_shape) and stored.dtype == encoder.stored_type
    return stored if whole else None


def write_cache(
    folder: Path,
    encoder: Encoder,
    contents: Iterable[Content],
    count: int,
    on_encoded: OnEncoded = lambda done: None,
) -> None:
    """Encode examples into a cache, which is there whole or not at all.

    Args:
        folder: The cache's own.
        encoder: What makes the inputs.
        contents: By position, read once.
        count: How many there are.
        on_encoded: Told from time to time how many are done.

    Raises:
        InputError: If an example cannot be read; the message says at which position.
    """
    head = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(encoder.stored_type)),
        "fortran_order": False,
        "shape": (count, *encoder.stored_shape),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as building:
        path = building / "inputs.npy"
        with naming(path), path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, head)
            rows: list[npt.NDArray[Any]] = []
            for position, content in enumerate(contents):
                rows.append(read_example(encoder, content, position))
                if len(rows) == ROWS_WRITTEN or position == count - 1:
                    file.write(np.stack(rows).data)
                    rows.clear()
                    on_encoded(position + 1)
        flush_to_disk(path)


def read_example(encoder: Encoder, content: Content, position: int) -> npt.NDArray[Any]:
    """Return an example as it is stored.

    Raises:
        InputError: If it cannot be read; the message says at which position.
    """
    try:
        stored: npt.NDArray[Any] = encoder.read(content)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"Example at position {position}: {error}") from error
    return stored


def drop_caches(folder: Path, kept: Iterable[str]) -> None:
    """Delete the caches of a project that nothing uses any more, and half-made ones.

    Args:
        folder: ``projects/<slug>/encoded``.
        kept: Names of the caches to leave.
    """
    names = set(kept)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in names:
            shutil.rmtree(path, ignore_errors=True)
