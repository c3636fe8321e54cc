"""Which rows of an array are pictures, and how one is made of a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tracin_core.errors import InputError
from tracin_core.examples.images import MAX_PIXELS
from tracin_core.sources.array_files import ArrayFile, ArrayHeader

_CHANNELS = (1, 3, 4)
_MAX_EDGE = 20_000  # pixels
_FLAT = 64  # numbers of the smallest pictures that people have, 8 x 8
Pixels = npt.NDArray[Any]


def find_pixel_layout(
    header: ArrayHeader, way_out: Callable[[], str]
) -> Callable[[Pixels], Pixels]:
    """Return what makes a picture, ``(H, W)`` or ``(H, W, C)``, of one row of an array.

    Args:
        header: Of the array.
        way_out: Says how an array of another type becomes one of bytes.

    Raises:
        InputError: If the array's shape or type is not one of images.
    """
    sizes = header.shape[1:]
    to_samples = _find_samples(header, way_out)
    if max(sizes) > _MAX_EDGE or 0 in sizes:
        raise InputError(
            f"The array {header} has images of {' x '.join(map(str, sizes))}. Expected 1 to "
            f"{_MAX_EDGE:,} pixels a side."
        )
    if math.prod(sizes) > MAX_PIXELS * max(_CHANNELS):
        raise InputError(
            f"The array {header} has images of {math.prod(sizes):,} numbers. Expected at most "
            f"{MAX_PIXELS / 1e6:.0f} million pixels. Save smaller ones."
        )
    if len(sizes) == 2:
        return to_samples
    if len(sizes) == 3 and sizes[2] in _CHANNELS:
        return lambda row: _drop_single(to_samples(row))
    if len(sizes) == 3 and sizes[0] in _CHANNELS:
        return lambda row: _drop_single(to_samples(row).transpose(1, 2, 0))
    raise InputError(
        f"The array {header} is not one of images. Expected (N, H, W), (N, H, W, C) or "
        "(N, C, H, W) with 1, 3 or 4 channels; or (N, columns) for rows of numbers."
    )


def _find_samples(header: ArrayHeader, way_out: Callable[[], str]) -> Callable[[Pixels], Pixels]:
    if header.dtype == np.uint8:
        return lambda row: row
    if header.dtype == np.bool_:
        return lambda row: row.astype(np.uint8) * 255
    if header.dtype.kind == "u" and header.dtype.itemsize == 2 and is_grey(header):
        return lambda row: row.astype(np.uint16)
    raise InputError(
        f"The array {header} is of a type that has no agreed black and white. Expected uint8 (0 "
        f"to 255), uint16 for grey, or bool. {way_out()}"
    )


def is_grey(header: ArrayHeader) -> bool:
    """Tell whether an array's pictures have one channel."""
    sizes = header.shape[1:]
    return len(sizes) == 2 or (len(sizes) == 3 and 1 in (sizes[0], sizes[2]))


def _drop_single(pixels: Pixels) -> Pixels:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def find_range(file: ArrayFile, names: list[str]) -> tuple[float, float]:
    """Return the least and the greatest number in some arrays; NaN and infinity aside."""
    low, high = float("inf"), float("-inf")
    for name in names:
        for chunk in file.chunks(name):
            finite = chunk[np.isfinite(chunk)] if chunk.dtype.kind == "f" else chunk
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def describe_way_out(file: ArrayFile, names: list[str]) -> str:
    """Return how an array of another type becomes one of bytes, by the numbers in it."""
    low, high = find_range(file, names)
    found = f"Its numbers go from {low:.6g} to {high:.6g}"
    if low >= 0 and high <= 1:
        return f"{found}: save (array * 255).round().astype('uint8')."
    if low >= -1 and high <= 1:
        return f"{found}: save ((array + 1) * 127.5).round().astype('uint8')."
    if low >= 0 and high <= 255:
        return (
            f"{found}: if 255 is white, save array.round().astype('uint8'); if {high:.6g} is, "
            f"(array * {255 / (high or 1):.6g}).round().astype('uint8')."
        )
    return (
        f"{found}, which are perhaps normalised: undo that first, or save "
        f"((array - {low:.6g}) * {255 / (high - low):.6g}).round().astype('uint8') to have them "
        "stretched from black to white."
    )


def note_shape(header: ArrayHeader) -> list[str]:
    """Say how the sizes of an array are read where they could mean something else."""
    sizes = header.shape[1:]
    if len(sizes) == 1:
        return _note_flat(header)
    notes = []
    if len(sizes) == 3 and sizes[0] in _CHANNELS and sizes[2] in _CHANNELS:
        notes.append(
            f"The sizes {sizes} may be read from both sides: the last is taken as the channels. If "
            "the first is, save array.transpose(0, 2, 3, 1)."
        )
    channels = sizes[2] if len(sizes) == 3 and sizes[2] in _CHANNELS else sizes[0]
    if len(sizes) == 3 and channels == 4:
        notes.append(
            "Of 4 channels the last is taken as transparency, and shown over white. If it is "
            "another one, such as infrared, save the first three alone."
        )
    return notes


def _note_flat(header: ArrayHeader) -> list[str]:
    """Ask whether rows of many small whole numbers are pictures that lie flat."""
    length = header.shape[1]
    if header.dtype.kind not in "ub" or header.dtype.itemsize > 2 or length < _FLAT:
        return []
    for channels in (1, 3):
        edge = math.isqrt(length // channels)
        if channels * edge * edge == length:
            shape = f"{edge}, {edge}" + (f", {channels}" if channels > 1 else "")
            return [
                f"Rows of {length} small whole numbers are taken as columns of a table. If they "
                f"are pictures, save array.reshape(-1, {shape})."
            ]
    return []
