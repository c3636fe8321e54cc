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

from relabel.features.frozen import FeatureEncoder
from relabel.features.image import ImageEncoder, read_image
from relabel.features.ngrams import NgramEncoder
from relabel.features.ragged import RaggedRows, open_rows, write_rows
from relabel.features.records import Content
from relabel.features.table import TableEncoder
from relabel.features.text import TextEncoder
from relabel.features.unfinished import BEFORE, BEHIND, ROWS_FILE, UnfinishedRows, is_sound
from relabel.text import Kind
from tracin_core.errors import ConfigurationError, InputError
from tracin_core.files import HEADER_ERRORS

if TYPE_CHECKING:
    from relabel.features.records import Content


Encoder = ImageEncoder | TextEncoder | TableEncoder | FeatureEncoder | NgramEncoder
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
        if data.get("kind") == "features":
            mean, std = (tuple(map(float, fields.pop(name))) for name in ("mean", "std"))
            return FeatureEncoder(**fields, mean=mean, std=std)
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"The saved {data.get('kind')} encoder does not fit this version ({error}). "
            "Train and score the project again."
        ) from error
    raise ConfigurationError(
        f"Found an encoder of kind {data.get('kind')!r}, expected 'image', 'text', 'table' or "
        "'features' or 'ngrams'. "
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


# Told how many examples are encoded; what it raises ends the work.
OnEncoded = Callable[[int], None]


def name_cache(encoder: Encoder, content_hash: str) -> str:
    """Return the name of the cache of some contents under an encoder.

    Args:
        encoder: What makes the stored rows. What it does to them afterwards has no part in it.
        content_hash: Digest of the contents in order; labels have no part in it, so a changed
            label leaves the cache as it is.
    """
    made_from = json.dumps(encoder.cache_identity(), sort_keys=True)
    return f"{_mark(content_hash)}-{_hash_text(made_from)}"


def _mark(content_hash: str) -> str:
    """Return how the names of all caches of some contents begin."""
    return _hash_text(content_hash)[:16]


def _hash_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def open_cache(folder: Path, encoder: Encoder, count: int) -> StoredRows | None:
    """Open a cache as a read-only memory map, shape ``(N, ...)``; None where it is not whole."""
    if isinstance(encoder, NgramEncoder):
        return open_rows(folder, count)
    if not count:
        return np.zeros((0, *encoder.stored_shape), dtype=encoder.stored_type)
    try:
        stored: npt.NDArray[Any] = np.load(folder / ROWS_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, *HEADER_ERRORS):
        return None
    whole = stored.shape == (count, *encoder.stored_shape) and stored.dtype == encoder.stored_type
    # Features take long and are small: what a disk has changed in them is made again.
    if whole and isinstance(encoder, FeatureEncoder) and not is_sound(folder, stored):
        return None
    return stored if whole else None


def write_cache(
    folder: Path,
    encoder: Encoder,
    contents: Callable[[int], Iterable[Content]],
    count: int,
    on_encoded: OnEncoded = lambda done: None,
) -> None:
    """Encode examples into a cache, which has its name when it is whole.

    What was encoded before the work was stopped is gone on with, and the whole cache has the same
    bits as if it had been written in one go.

    Args:
        folder: The cache's own, named by ``name_cache``.
        encoder: What makes the stored rows.
        contents: Gives the contents by position, from a position on.
        count: How many there are.
        on_encoded: Told from time to time how many are done.

    Raises:
        InputError: If an example cannot be read; the message says at which position.
        OSError: If the disk is full.
    """
    if isinstance(encoder, NgramEncoder):
        examples = enumerate(contents(0))
        write_rows(folder, (read_example(encoder, c, at) for at, c in examples), on_encoded)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    rows = UnfinishedRows(
        folder,
        (count, *encoder.stored_shape),
        encoder.stored_type,
        rows_at_once=encoder.rows_at_once,
        made_from=folder.name,
    )
    on_encoded(rows.done)
    remaining = iter(contents(rows.done))
    try:
        while batch := list(islice(remaining, encoder.rows_at_once)):
            rows.append(read_examples(encoder, batch, range(rows.done, rows.done + len(batch))))
            on_encoded(rows.done)
    except (InputError, OSError):
        # Of other contents the cache is another one, and a full disk needs the room.
        rows.discard()
        raise
    rows.finish(with_digests=isinstance(encoder, FeatureEncoder))


def read_examples(
    encoder: Encoder, contents: Sequence[Content], positions: Sequence[int]
) -> npt.NDArray[Any]:
    """Return some examples as they are stored, shape ``(B, ...)``.

    Args:
        encoder: What makes the stored rows.
        contents: The examples.
        positions: Theirs.

    Raises:
        InputError: If one cannot be read; the message says at which position.
    """
    try:
        stored: npt.NDArray[Any] = encoder.read_many(contents)  # type: ignore[arg-type]
    except InputError:
        for content, position in zip(contents, positions, strict=True):
            read_example(encoder, content, position)  # one of them is the bad one
        raise
    return stored


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


def drop_caches(folder: Path, kept: Iterable[str] = (), *, of_contents: Iterable[str] = ()) -> None:
    """Delete the caches of a project that nothing uses any more, and half-made ones of these.

    Args:
        folder: ``projects/<slug>/encoded``.
        kept: Names of caches to leave.
        of_contents: Digests of contents whose caches all stay, under whatever encoder: other
            networks of the project use them.
    """
    names, marks = set(kept), tuple(f"{_mark(each)}-" for each in of_contents)
    for path in folder.iterdir() if folder.is_dir() else ():
        # An unfinished one is gone on with where a whole one would stay.
        name = path.name.removeprefix(BEFORE).removesuffix(BEHIND)
        is_ours = path.name in (name, f"{BEFORE}{name}{BEHIND}")
        if not is_ours or not (name in names or name.startswith(marks)):
            shutil.rmtree(path, ignore_errors=True)
