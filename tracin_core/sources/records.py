"""What a source gives: its examples, what is wrong with some, and a preview of it all."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tracin_core.examples.images import SUFFIXES, DeepRange, inspect_image, rescale_deep
from tracin_core.examples.records import content_key
from tracin_core.sources.depths import Depths
from tracin_core.sources.options import ImportOptions
from tracin_core.terms import Kind, Split, Task

Fields = dict[str, float | str | None]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person should know about one place in the data.

    Attributes:
        row: As a spreadsheet numbers it for CSV (the header is row 1), else from 1; None where
            the place is no row.
        where: The place, in words: "row 17", or a file's name.
        message: What is wrong and what can be done, in words for people.
        what: The same in two or three words, equal for all problems of a kind; they are
            counted by it.
        refused: Whether the example is left out; else it is only a finding.
    """

    row: int | None
    where: str
    message: str
    what: str = "problem"
    refused: bool = True


def row_number(row: int, where: str) -> int | None:
    """Return a record's number if its place is a row, None if it is a file or an array's."""
    return row if where == f"row {row:,}" else None


def fields_key(fields: Mapping[str, Any]) -> str:
    """Return a key of a table's row that depends on its values alone."""
    # Whole numbers count as the floats they equal, so 3 and 3.0 are one content.
    values = {k: float(v) if isinstance(v, int) else v for k, v in fields.items()}
    return content_key(json.dumps(values, sort_keys=True))


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image as it lies in a file, kept byte for byte.

    Attributes:
        data: The file.
        range: What is black and white if it is deep grey.
    """

    data: bytes
    range: DeepRange | None = None

    def hashed(self) -> bytes:
        """Return what the example's key is made of."""
        return self.data

    def to_file(self) -> tuple[bytes, str]:
        """Return the bytes to store and the file name's ending."""
        deep = rescale_deep(self.data, self.range) if self.range else None
        if deep is not None:
            return deep, ".png"
        return self.data, SUFFIXES[inspect_image(self.data).format]


@dataclass(frozen=True, slots=True)
class PixelImage:
    """An image out of an array: uint8 or uint16, shape ``(H, W)`` or ``(H, W, C)``.

    Attributes:
        pixels: As the array has them.
        white: Sample that is white, where that is not the largest of the type.
    """

    pixels: npt.NDArray[Any]
    white: int | None = None

    def hashed(self) -> bytes:
        """Return what the example's key is made of: PNG bytes would vary with zlib's version."""
        head = f"{self.pixels.dtype.str} {self.pixels.shape} ".encode()
        return head + self.pixels.tobytes()

    def to_file(self) -> tuple[bytes, str]:
        """Return the bytes to store, a lossless PNG, and the file name's ending."""
        from PIL import Image

        pixels = self.pixels
        if self.white is not None:
            scale = np.iinfo(pixels.dtype).max / self.white
            pixels = np.round(pixels * scale).astype(pixels.dtype)
        buffer = BytesIO()
        # Level 1: small images gain nothing from more, and it is three times as fast.
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), ".png"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """One example as its source has it.

    Attributes:
        row: Number that ``Source.places`` turns into words.
        where: The place in words.
        place: The same where it is to be found without this source at hand; None if that is
            ``where``.
        text, image, fields: What the example is; one of the three.
        label: Name of its class; None in a regression.
        value: Its number; None in a classification.
        split: "train" or "test"; None where the source does not say.
        given_key: Its name in the source; None where the source has none.
        truth: What is truly right, name or number; None where not known.
    """

    row: int
    where: str
    place: str | None = None
    text: str | None = None
    image: EncodedImage | PixelImage | None = None
    fields: Fields | None = None
    label: str | None = None
    value: float | None = None
    split: Split | None = None
    given_key: str | None = None
    truth: str | float | None = None

    def content_key(self) -> str:
        """Return a key that depends on what the example is, not on its label."""
        if self.text is not None:
            return content_key(self.text)
        if self.image is not None:
            return content_key(self.image.hashed())
        return fields_key(self.fields or {})

    def key(self) -> str:
        """Return the example's stable name: the source's own, else of its content."""
        return self.content_key() if self.given_key is None else self.given_key


@dataclass(frozen=True)
class Column:
    """One column as it was understood.

    Attributes:
        name: In the data.
        role: "text", "image", "label", "target", "split", "key", "truth", "feature", or
            "left out" with the reason.
        kind: "number", "category", "text", "image" or "nothing".
        examples: The first different values, cut to 40 characters.
        axis: "longitude" or "latitude" where the column is one.
    """

    name: str
    role: str
    kind: str
    examples: tuple[str, ...] = ()
    axis: str | None = None


@dataclass(frozen=True)
class PreviewRow:
    """One example for people to look at.

    Attributes:
        where: The place in the data.
        split: "train" or "test", as it will be.
        answer: Name of the class, or the number.
        text, fields: What the example is, if it is that.
        image: A small PNG, if it is an image.
    """

    where: str
    split: str
    answer: str
    text: str | None = None
    fields: Mapping[str, Any] | None = None
    image: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What was understood, before anything is written.

    Attributes:
        format: A name in ``IMPORTERS``.
        kind: "image", "text" or "table".
        task: "classification" or "regression".
        target: Name of what is predicted, where it has one.
        classes: Names, in the order they get their numbers.
        counts: Usable examples by split.
        class_counts: Usable examples by class name.
        columns: Of a table.
        rows: A few examples.
        problems: The first of them; all are counted in ``problem_counts``.
        problem_counts: Number of problems by what is wrong.
        notes: What was guessed and how to say otherwise.
        num_usable: Examples that can be imported.
        num_refused: Places in the data that cannot.
        duplicates: Examples left out because the same one came before.
        options: With everything that was found out filled in.
    """

    format: str
    kind: Kind
    task: Task
    target: str = ""
    classes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    class_counts: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    rows: tuple[PreviewRow, ...] = ()
    problems: tuple[Problem, ...] = ()
    problem_counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    num_usable: int = 0
    num_refused: int = 0
    duplicates: int = 0
    options: ImportOptions = field(default_factory=ImportOptions)


class Source(Protocol):
    """Data that can be imported, read from beginning to end as often as needed.

    Attributes:
        options: With everything that was found out filled in.
        format: A name in ``IMPORTERS``.
        kind: "image", "text" or "table".
        task: "classification" or "regression".
        target: What the label or the number is called in the data; "" where it has no name.
        classes: Names in the order of the data's own numbers; None where it has no order.
        columns: Of a table.
        notes: What was guessed and how to say otherwise.
        num_records: Examples and problems together; None where only reading tells.
        counts_classes: Whether labels are numbers into the names that were given.
    """

    options: ImportOptions
    format: str
    kind: Kind
    task: Task
    target: str
    classes: tuple[str, ...] | None
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    num_records: int | None
    counts_classes: bool

    @property
    def depths(self) -> Depths:
        """Return what the last whole reading met of deep pictures."""

    def records(self, *, check_pixels: float = float("inf")) -> Iterator[SourceRecord | Problem]:
        """Yield the examples in an order that is the same every time, and the problems.

        Args:
            check_pixels: Millions of pixels to decode at most; of the images after that, only
                the headers are looked at. 0 trusts an earlier reading.
        """

    def adopt_kinds(self, kinds: Mapping[str, str]) -> None:
        """Read the columns as numbers or categories as a project has them already."""

    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return in words where the records with these numbers are."""

    def explain_repeats(self, pairs: Sequence[tuple[int, int]], total: int) -> tuple[str, ...]:
        """Say which records are the same only because something is left out.

        Args:
            pairs: Numbers of a record and of the one before that has the same content.
            total: How many there are; the pairs may be the first of them.
        """

    def preview(self, rows: int = 20) -> Preview:
        """Read everything once and say what was understood."""
