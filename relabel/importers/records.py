"""The types that importers exchange: records, rows, problems, previews, protocols of sources.

A ``RowReader`` yields the rows of a file; a ``Source`` makes examples of them, ``SourceRecord`` or
``Problem``. A ``ProblemLog`` counts all problems and keeps the first of each kind. ``Depths``
finds how deep the grey of a data set's pictures is: 10 or 12 bits in files of 16 would be dark.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from relabel.features.image import SUFFIXES, DeepRange, Depth, inspect_image, rescale_deep
from relabel.features.records import content_key
from relabel.importers.options import ImportOptions
from relabel.text import Kind, Split, Task, counted
from tracin_core.errors import InputError

# Bits of the cameras and scanners that people have; the fewest that hold all values are taken.
_BITS = (8, 10, 12, 14, 16, 20, 24, 31)
FULL = 2**16 - 1  # white in a file of 16 bits
_NEARLY_BLACK = 64  # of 255
Fields = dict[str, float | str | None]
KEPT_PER_KIND = 50
KEPT = 500
MAX_COLUMNS = 1000


class Depths:
    """What is met of deep pictures in one reading of a data set."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew, for another reading of the data."""
        self._whole: list[tuple[float, float]] = []
        self._real: list[tuple[float, float]] = []
        self._num = {"whole": 0, "real": 0, "colour": 0, "frames": 0, "empty": 0}
        self._brightest = 0

    def add(self, depth: Depth) -> None:
        """Take one picture into account."""
        self._num["frames"] += depth.has_frames
        self._num["empty"] += depth.is_empty
        if depth.brightest is not None:
            self._num["colour"] += 1
            self._brightest = max(self._brightest, depth.brightest)
        if depth.low is not None and depth.high is not None:
            self._num["real" if depth.is_real else "whole"] += 1
            met = self._real if depth.is_real else self._whole
            met[:] = [(min(low for low, _ in (*met, (depth.low, 0))),
                       max(high for _, high in (*met, (0, depth.high))))]  # fmt: skip

    @property
    def range(self) -> DeepRange:
        """Return the samples that are black and white."""
        whole = real = None
        for low, high in self._whole:
            white = high if low < 0 else find_white(int(high))
            whole = (low, white) if high > 0 and (low, white) != (0, FULL) else None
        for low, high in self._real:
            # Fractions and bytes have an agreed white; of others the range is stretched.
            white = next((w for w in (1.0, 255.0) if low >= 0 and high <= w), high)
            real = (low, white) if white > low else None
        return DeepRange(whole, real)

    def describe(self) -> list[str]:
        """Describe how deep pictures are read, and what is lost."""
        notes = []
        for kind, words in (("whole", "deep grey picture"), ("real", "picture of fractions")):
            chosen = getattr(self.range, kind)
            if chosen is not None:
                ((low, high),) = getattr(self, f"_{kind}")
                number = counted(self._num[kind], words, words.replace("picture", "pictures"))
                notes.append(
                    f"{number} {'hold' if self._num[kind] > 1 else 'holds'} values from "
                    f"{_show(low)} to {_show(high)}: {_show(chosen[0])} is taken as black and "
                    f"{_show(chosen[1])} as white, and they are stored as PNG of 16 bits."
                )
        if self._num["colour"] and self._brightest < _NEARLY_BLACK:
            notes.append(
                f"{counted(self._num['colour'], 'picture')} with 16 bits a colour are nearly "
                f"black: the brightest value is {self._brightest} of 255, because only the upper 8 "
                "bits are read. If they hold 10 or 12 bits, save them with 8 bits a colour first."
            )
        if self._num["empty"]:
            notes.append(
                f"All of {counted(self._num['empty'], 'picture')} is transparent, and white is "
                "seen instead. If there is a picture under it, save it without transparency."
            )
        if self._num["frames"]:
            notes.append(
                f"Of {counted(self._num['frames'], 'picture')} with several frames or pages the "
                "first is used. Save the others as files of their own if they are examples."
            )
        return notes


def find_white(high: int) -> int:
    """Return the largest value of the fewest bits that hold a sample."""
    return next((2**bits - 1 for bits in _BITS if high < 2**bits), high)


def _show(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


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
        text, image, fields: What the example is; one of the three. Beside a text that was joined
            stand its parts, each by its column.
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
        num_findings: Those of ``problem_counts`` that leave nothing out.
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
    num_findings: int = 0
    duplicates: int = 0
    options: ImportOptions = field(default_factory=ImportOptions)

    @property
    def problem_noun(self) -> str:
        """What the list of problems is called: findings where nothing is left out for them."""
        return "finding" if sum(self.problem_counts.values()) == self.num_findings else "problem"


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
        """Describe which records are the same only because something is left out.

        Args:
            pairs: Numbers of a record and of the one before that has the same content.
            total: How many there are; the pairs may be the first of them.
        """

    def preview(self, rows: int = 20) -> Preview:
        """Read everything once and say what was understood."""


class ProblemLog:
    """Counts problems without growing with their number.

    Attributes:
        counts: Problems by what is wrong.
        num_refused: Those that leave an example out.
    """

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self.num_refused = 0
        self._kept: list[Problem] = []
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self.counts[problem.what] += 1
        self.num_refused += problem.refused
        if self.counts[problem.what] <= KEPT_PER_KIND and len(self._kept) < KEPT:
            self._kept.append(problem)

    def count(self, what: str, number: int, *, refused: bool = True) -> None:
        """Count problems of a kind that are not described one by one."""
        if number > 0:
            self.counts[what] += number
            self.num_refused += number if refused else 0

    @property
    def kept(self) -> tuple[Problem, ...]:
        """Return the problems that were kept, in the order they were met."""
        return tuple(self._kept)

    def to_json(self) -> dict[str, Any]:
        """Return the problems that were kept, and how many there are, as plain JSON."""
        return {
            "kept": [asdict(problem) for problem in self._kept],
            "counts": dict(self.counts),
            "num_refused": self.num_refused,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProblemLog:
        """Return the log that ``to_json`` described."""
        log = cls()
        log._kept = [Problem(**problem) for problem in data["kept"]]
        log.counts = Counter(data["counts"])
        log.num_refused = int(data["num_refused"])
        return log


def choose_problems(problems: Sequence[Problem], number: int) -> list[Problem]:
    """Choose some problems, in their order, so that those of every kind are among them."""
    of_kind: Counter[str] = Counter()
    ranked = []
    for place, problem in enumerate(problems):
        ranked.append((of_kind[problem.what], place))
        of_kind[problem.what] += 1
    return [problems[place] for place in sorted(place for _, place in sorted(ranked)[:number])]


class Row(NamedTuple):
    """One row.

    Attributes:
        number: As the file's readers count: CSV like a spreadsheet, where the header is row 1.
        values: One a column that was asked for.
        split: Where the file itself is a split: its name.
        place: What it is found by in the data; None where that is the reader's name and its number.
    """

    number: int
    values: Sequence[Any]
    split: str | None = None
    place: str | None = None


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What a file says about its columns.

    Attributes:
        columns: Names, in order.
        class_names: Names of the classes of integer columns that come with them.
        image_columns: Columns that hold image data.
        typed: Whether numbers are numbers; in CSV all values are text.
        splits: Names of the splits that the file or folder consists of; empty if it has none.
        notes: What a person should know about how the file was read.
        num_rows: None where only reading tells.
        roles: Columns that the file itself says the role of, by "text", "image", "label",
            "target" or "key".
    """

    columns: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image_columns: frozenset[str] = frozenset()
    typed: bool = False
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    num_rows: int | None = None
    roles: Mapping[str, str] = field(default_factory=dict)


class RowReader(Protocol):
    """A file or folder with rows, read from beginning to end as often as needed.

    Attributes:
        schema: What it says about its columns.
        name: Of the file or folder, for people.
        folder: What relative paths in the data are relative to.
    """

    schema: Schema
    name: str
    folder: Path

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the rows with the values of some columns, and what is no row."""


def check_column_names(columns: Sequence[str], path: Path) -> None:
    """Check that every column can be named.

    Raises:
        InputError: If two have the same name, or there are too many.
    """
    counts = Counter(columns)
    doubled = sorted(name for name, count in counts.items() if count > 1)
    if doubled:
        raise InputError(
            f"{path} has several columns called {', '.join(map(repr, doubled[:5]))}. Expected "
            "every name once. Rename or remove the others."
        )
    if len(columns) > MAX_COLUMNS:
        raise InputError(
            f"{path} has {len(columns):,} columns, expected at most {MAX_COLUMNS:,}. If its rows "
            "are images or vectors, save them as arrays in an .npz file; else remove columns."
        )


def row_problem(number: int, message: str, what: str) -> Problem:
    """Return a problem at a row."""
    return Problem(number, f"row {number:,}", message, what)
