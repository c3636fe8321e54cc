"""Read image files from inside a source's folder only, and check them before they are used."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from relabel.features.image import (
    MAX_BYTES,
    DeepRange,
    Depth,
    inspect_image,
    measure_depth,
    read_image,
)
from relabel.importers.columns.column_names import PICTURES
from relabel.importers.columns.values import RefusedError, check_text, show
from relabel.importers.records import Depths, EncodedImage, Problem, SourceRecord, row_number
from relabel.locks import name_unpacked
from tracin_core.errors import InputError
from tracin_core.files import describe_special

_ENDINGS = tuple(one for ending in sorted(PICTURES) for one in (ending, ending.upper()))
# Images that wait to be decoded: enough to keep the threads busy, few enough for memory.
_WAITING = 16
Item = SourceRecord | Problem


def read_image_file(root: Path, name: str) -> EncodedImage:
    r"""Read an image by the path that the data gives, which must stay inside a folder.

    Args:
        root: The folder, without links in its own path.
        name: Relative to it, or absolute but inside; "/" or "\" between folders.

    Raises:
        RefusedError: If the path leaves the folder, the file is missing, too large or unreadable.
    """
    check_text(name, "The image's path")
    if "://" in name:
        raise RefusedError(
            "missing image",
            f"{show(name, 80)} is an address, and nothing is downloaded. Download the image, and "
            "name its file.",
        )
    try:
        path = (root / name.strip().replace("\\", "/")).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise RefusedError(
            "missing image", f"The path {show(name)} cannot be used: {error}."
        ) from error
    if not path.is_relative_to(root):
        raise RefusedError(
            "outside the data folder",
            f"The path {show(name, 80)} leaves the data folder {root}. Expected a file inside "
            "it. Copy the image there, or name the folder that holds all with --image-root.",
        )
    return read_within_limit(add_ending(path) or path, name)


def add_ending(path: Path) -> Path | None:
    """Return the picture that a path means without its ending; None where there is none.

    Tables often name pictures so.
    """
    try:
        if path.suffix.lower() in PICTURES or path.exists():
            return None
        return next(
            (p for end in _ENDINGS if (p := path.with_name(path.name + end)).is_file()), None
        )
    except (OSError, ValueError):  # a name that no file can have, which whoever reads it says
        return None


def read_within_limit(path: Path, name: str) -> EncodedImage:
    """Read an image file unless it is too large to be one.

    Raises:
        RefusedError: If it is missing, no plain file, unreadable, or too large.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for ever
            raise not_plain(path)
        if found.st_size > MAX_BYTES:
            raise too_large(found.st_size)
        with path.open("rb") as file:
            return EncodedImage(file.read(MAX_BYTES + 1))
    except FileNotFoundError as error:
        raise RefusedError(
            "missing image",
            f"The image {show(name, 80)} does not exist in {name_unpacked(path.parent)}. Put it "
            "there, or name the folder that the paths start from with --image-root.",
        ) from error
    except OSError as error:
        raise RefusedError(
            "unreadable file",
            f"The image {show(name, 80)} cannot be read: {error.strerror or error}. Mend its "
            "permissions, or put it back.",
        ) from error


def not_plain(path: Path) -> RefusedError:
    """Return the problem of something that is no file."""
    what = "a folder" if path.is_dir() else describe_special(path) or "no plain file"
    return RefusedError(
        "no plain file",
        f"It is {what}, expected an image or a text in a plain file. Put one there.",
    )


def too_large(size: int) -> RefusedError:
    """Return the problem of a file of so many bytes."""
    return RefusedError(
        "file too large",
        f"The file has {size / 2**20:,.0f} MB, expected at most {MAX_BYTES / 2**20:.0f} MB. Save "
        "it smaller, an image for example as JPEG.",
    )


def rescale_deep_images(items: Iterator[Item], range: DeepRange) -> Iterator[Item]:
    """Yield records whose deep grey images have the black and white of the whole data set."""
    for item in items:
        if (
            range != DeepRange()
            and isinstance(item, SourceRecord)
            and isinstance(item.image, EncodedImage)
        ):
            item = replace(item, image=replace(item.image, range=range))
        yield item


def check_images(items: Iterator[Item], megapixels: float, depths: Depths) -> Iterator[Item]:
    """Replace the records whose images cannot be decoded by problems, in order.

    Args:
        items: Records of images, and problems, which pass through.
        megapixels: How many to decode at most; headers alone are looked at after that.
        depths: Told of the deep ones; begins anew.
    """
    waiting: deque[Future[tuple[Item, Depth]]] = deque()
    left = megapixels
    workers = min(4, os.cpu_count() or 1)
    depths.clear()

    def take() -> Item:
        item, depth = waiting.popleft().result()
        depths.add(depth)
        return item

    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            if isinstance(item, SourceRecord) and isinstance(item.image, EncodedImage):
                pixels, item = _check_header(item)
                left -= pixels
            if isinstance(item, SourceRecord) and left > 0:
                waiting.append(pool.submit(_check_pixels, item))
            else:
                waiting.append(_done(item))
            if len(waiting) > _WAITING:
                yield take()
        while waiting:
            yield take()


def _done(item: Item) -> Future[tuple[Item, Depth]]:
    future: Future[tuple[Item, Depth]] = Future()
    future.set_result((item, Depth()))
    return future


def _check_header(record: SourceRecord) -> tuple[float, Item]:
    """Return the megapixels and the record, or a problem in its place."""
    try:
        if not isinstance(record.image, EncodedImage):
            return 0.0, record
        header = inspect_image(record.image.data)
    except InputError as error:
        return 0.0, _image_problem(record, error)
    return header.width * header.height / 1e6, record


def _check_pixels(record: SourceRecord) -> tuple[Item, Depth]:
    depth = Depth()
    try:
        if isinstance(record.image, EncodedImage):
            read_image(record.image.data)
            depth = measure_depth(record.image.data)
    except InputError as error:
        return _image_problem(record, error), depth
    return record, depth


def _image_problem(record: SourceRecord, error: InputError) -> Problem:
    what = "image too large" if "pixels, expected" in str(error) else "unreadable image"
    return Problem(row_number(record.row, record.where), record.where, str(error), what)
