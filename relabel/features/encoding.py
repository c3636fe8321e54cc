"""Encoders, fitted to a data set or read from the JSON of a run, and the cache of what they make.

The cache holds encoded examples in a memory-mapped file, so that large data need not be in memory
and is decoded once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from relabel.features.image import ImageEncoder, read_image
from relabel.features.ngrams import NgramEncoder
from relabel.features.ragged import RaggedRows, open_rows, write_rows
from relabel.features.records import Content
from relabel.features.table import TableEncoder
from relabel.features.text import TextEncoder
from relabel.text import Kind
from tracin_core.errors import ConfigurationError, InputError
from tracin_core.files import HEADER_ERRORS, atomic_folder, flush_to_disk, naming

if TYPE_CHECKING:
    from relabel.features.records import Content


Encoder = ImageEncoder | TextEncoder | TableEncoder | NgramEncoder
# What is stored of a split: rows of one shape, or of different lengths.
StoredRows = npt.NDArray[Any] | RaggedRows

# Images looked at for the size and colours of all.
IMAGES_COMPARED = 32
# Sides of the input in pixels. Larger photographs are made smaller: what a built-in network can
# learn from a few thousand of them is there at 64, and every doubling costs four times the time.
LARGEST_SIDE = 64
SMALLEST_SIDE = 4


def encoder_from_json(data: dict[str, Any]) -> Encoder:
    """Return the encoder that ``to_json`` described.

    Raises:
        ConfigurationError: If the description is of no encoder that this version knows.
    """
    fields = {name: value for name, value in data.items() if name != "kind"}
    try:
        if data.get("kind") == "image":
            return ImageEncoder(**fields)
        if data.get("kind") == "text":
            return TextEncoder(
                vocabulary=tuple(fields.pop("vocabulary")), max_tokens=int(fields.pop("max_tokens"))
            )
        if data.get("kind") == "table":
            return TableEncoder.from_json(fields["columns"])
        if data.get("kind") == "ngrams":
            return NgramEncoder.from_json(fields)
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"The saved {data.get('kind')} encoder does not fit this version ({error}). "
            "Train and score the project again."
        ) from error
    raise ConfigurationError(
        f"Found an encoder of kind {data.get('kind')!r}, expected 'image', 'text', 'table' or "
        "'ngrams'. "
        "Train and score the project again."
    )


def fit_encoder(
    kind: Kind,
    contents: Iterable[Content],
    *,
    columns: Sequence[Mapping[str, Any]] = (),
    largest_side: int = LARGEST_SIDE,
    in_colour: bool = False,
) -> Encoder:
    """Fit the encoder for a data set to its train examples.

    Args:
        kind: "image", "text" or "table".
        contents: The images' bytes, texts or rows of the train split, at least one; read once.
            Of images a sample from all over the split is enough: 2,000 are read.
        columns: Of a table's columns ``name`` and ``kind``, "number" or "category".
        largest_side: Of an image's input, in pixels.
        in_colour: Whether images are taken as RGB even if all are grey.
    """
    iterator = iter(contents)
    first = list(islice(iterator, IMAGES_COMPARED if kind == "image" else 1))
    if not first:
        raise ConfigurationError(
            "Found no train examples, expected at least one. Add train examples first."
        )
    everything = chain(first, iterator)
    if kind == "text":
        return TextEncoder.fit(text for text in everything if isinstance(text, str))
    if kind == "table":
        return TableEncoder.fit((row for row in everything if isinstance(row, Mapping)), columns)
    sample = [data for data in first if isinstance(data, bytes)]
    height, width, channels = _choose_input(sample, largest_side)
    images = (data for data in everything if isinstance(data, bytes))
    return ImageEncoder.fit(
        images, height=height, width=width, channels=3 if in_colour else channels
    )


def _choose_input(images: Sequence[bytes], largest_side: int) -> tuple[int, int, int]:
    """Return height, width and channels that suit some images: the usual ones, within limits."""
    import numpy as np

    decoded = [read_image(data) for data in images]
    height = float(np.median([image.height for image in decoded]))
    width = float(np.median([image.width for image in decoded]))
    scale = min(1.0, largest_side / max(height, width))
    # The small network halves its input twice.
    height, width = (max(SMALLEST_SIDE, round(side * scale)) for side in (height, width))
    return height, width, 3 if any(_has_colour(image) for image in decoded) else 1


def _has_colour(image: Any) -> bool:
    """Return whether an image is more than shades of grey."""
    import numpy as np

    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.int16), -1, 0)
    return bool((red != green).any() or (green != blue).any())


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


def open_cache(folder: Path, encoder: Encoder, count: int) -> StoredRows | None:
    """Open a cache as a read-only memory map, shape ``(N, ...)``; None where it is not whole."""
    if isinstance(encoder, NgramEncoder):
        return open_rows(folder, count)
    if not count:
        return np.zeros((0, *encoder.stored_shape), dtype=encoder.stored_type)
    try:
        stored: npt.NDArray[Any] = np.load(folder / "inputs.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, *HEADER_ERRORS):
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
    if isinstance(encoder, NgramEncoder):
        examples = enumerate(contents)
        write_rows(folder, (read_example(encoder, c, at) for at, c in examples), on_encoded)
        return
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
