"""Scan a source: a few bytes of every example, from which everything is decided.

For each example 16 bytes of its key and 22 bytes of label, split and place are kept, so that a
data set of any size can be surveyed; the examples themselves are read again when they are stored.
``find_duplicates`` compares their digests with each other and with those that a project has.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relabel.features.records import KEY_BYTES
from relabel.importers.records import Problem, ProblemLog, Source, SourceRecord
from tracin_core.errors import InputError

MAX_CLASSES = 1000  # as many as ImageNet has; nobody chooses among more by hand
_UNKNOWN = -1
_SPLIT_CODES = {None: _UNKNOWN, "train": 0, "test": 1}
_SHOWN_SHARE = 4  # of the examples that are shown, a class takes at most a quarter, or two
_TOLD_PLACES = 3  # of examples that cannot be used
_REPORTED_EVERY = 512  # records

OnRead = Callable[[int, int], None]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Survey:
    """Everything about the examples but their contents, by the order of reading.

    Attributes:
        digests: Of the keys, shape ``(N,)``, 16 bytes each.
        content_digests: Of the contents where the keys are given ones, else ``digests``.
        rows: Numbers that ``Source.places`` turns into words, shape ``(N,)``.
        splits: 0 train, 1 test, -1 not said, shape ``(N,)``.
        labels: Indices into ``names``, shape ``(N,)``; all -1 in a regression.
        values: Numbers to be predicted, shape ``(N,)``; NaN in a classification.
        true_labels: Indices into ``names``, -1 where not known, shape ``(N,)``.
        true_values: NaN where not known, shape ``(N,)``.
        names: Classes as they were met, those of the truth included.
        problems: What is wrong.
        shown: A few examples.
    """

    digests: npt.NDArray[np.void]
    content_digests: npt.NDArray[np.void]
    rows: npt.NDArray[np.int64]
    splits: npt.NDArray[np.int8]
    labels: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    true_labels: npt.NDArray[np.int32]
    true_values: npt.NDArray[np.float64]
    names: tuple[str, ...]
    problems: ProblemLog
    shown: tuple[SourceRecord, ...]

    def __len__(self) -> int:
        return len(self.rows)


def hash_key(key: str) -> bytes:
    """Return 16 bytes of a key, which tell it apart from all others."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def survey_source(
    source: Source,
    *,
    rows: int = 0,
    check_pixels: float = float("inf"),
    on_read: OnRead = lambda done, total: None,
) -> Survey:
    """Read a source once.

    Args:
        source: What is read.
        rows: Examples to keep for showing.
        check_pixels: Millions of image pixels to decode at most.
        on_read: Told how many records were read, of how many as far as is known (else 0).

    Raises:
        InputError: If there is no usable example, or there are far too many classes.
    """
    taker = _SurveyBuilder(rows)
    count = 0
    for count, record in enumerate(source.records(check_pixels=check_pixels), 1):
        if isinstance(record, Problem):
            taker.problems.add(record)
        else:
            taker.add(record)
        if count % _REPORTED_EVERY == 0:
            on_read(count, source.num_records or 0)
    on_read(count, count)
    if not len(taker):
        raise InputError(_describe_nothing(taker.problems))
    return taker.finish()


class _SurveyBuilder:
    """Takes records in and keeps what a survey is made of."""

    def __init__(self, rows: int) -> None:
        self.problems = ProblemLog()
        self._digests = bytearray()
        self._contents = bytearray()
        self._rows, self._splits = array("q"), array("b")
        self._labels, self._true_labels = array("i"), array("i")
        self._values, self._true_values = array("d"), array("d")
        self._codes: dict[str, int] = {}
        self._num_shown = rows
        self._shown: list[SourceRecord] = []
        self._shown_of: dict[str | None, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, record: SourceRecord) -> None:
        key = record.key()
        self._digests += hash_key(key)
        if record.given_key is not None:
            self._contents += hash_key(record.content_key())
        self._rows.append(record.row)
        self._splits.append(_SPLIT_CODES[record.split])
        self._labels.append(self._code(record.label))
        self._values.append(float("nan") if record.value is None else record.value)
        truth = record.truth
        self._true_labels.append(self._code(truth if isinstance(truth, str) else None))
        self._true_values.append(float("nan") if not isinstance(truth, float | int) else truth)
        if len(self._shown) < self._num_shown:
            self._show(record)

    def finish(self) -> Survey:
        digests = np.frombuffer(bytes(self._digests), dtype=f"V{KEY_BYTES}")
        contents = np.frombuffer(bytes(self._contents), dtype=f"V{KEY_BYTES}")
        return Survey(
            digests=digests,
            content_digests=contents if self._contents else digests,
            rows=np.frombuffer(self._rows, np.int64),
            splits=np.frombuffer(self._splits, np.int8),
            labels=np.frombuffer(self._labels, np.int32),
            values=np.frombuffer(self._values, np.float64),
            true_labels=np.frombuffer(self._true_labels, np.int32),
            true_values=np.frombuffer(self._true_values, np.float64),
            names=tuple(self._codes),
            problems=self.problems,
            shown=tuple(self._shown),
        )

    def _code(self, label: str | None) -> int:
        if label is None:
            return _UNKNOWN
        code = self._codes.get(label)
        if code is None:
            code = self._codes[label] = len(self._codes)
            # Far more than can be used, but the message is to say how many there are.
            if code > 100 * MAX_CLASSES:
                raise too_many_classes(f"more than {code:,}")
        return code

    def _show(self, record: SourceRecord) -> None:
        """Keep the first few of every class: data is often sorted by class."""
        already = self._shown_of.get(record.label, 0)
        if record.label is None or already < max(2, self._num_shown // _SHOWN_SHARE):
            self._shown_of[sys.intern(record.label) if record.label else None] = already + 1
            self._shown.append(record)


def too_many_classes(found: str, some: str = "") -> InputError:
    """Return the error for a label column that is none.

    Args:
        found: How many classes there are.
        some: The first of them with their places.
    """
    first = f" The first ones are {some}." if some else ""
    return InputError(
        f"Found {found} classes, expected at most {MAX_CLASSES:,}.{first} Is the label an "
        "identifier, a text or a measure? Name another column with --label, predict a number with "
        "--target, or merge rare classes."
    )


def describe_refused(problems: ProblemLog, num_usable: int) -> str:
    """Return how many places of the data cannot be used, why, and which are the first, or ""."""
    first = [problem for problem in problems.kept if problem.refused]
    if not first:
        return ""
    places = ", ".join(problem.where for problem in first[:_TOLD_PLACES])
    more = ", …" if problems.num_refused > _TOLD_PLACES else ""
    return (
        f"{problems.num_refused:,} of {problems.num_refused + num_usable:,} examples cannot be "
        f"used: {_list_counts(problems)}. The first ones are at {places}{more}. At "
        f"{first[0].where}: {first[0].message}"
    )


def _list_counts(problems: ProblemLog) -> str:
    return ", ".join(f"{what} ({number:,})" for what, number in problems.counts.most_common(5))


def _describe_nothing(problems: ProblemLog) -> str:
    if not problems.counts:
        return (
            "Found no examples. Expected at least a few for every class. Check that the path is "
            "the right one."
        )
    counts = _list_counts(problems)
    first = problems.kept[0]
    return (
        f"None of the {problems.num_refused:,} examples can be used: {counts}. The first one, "
        f"{first.where}: {first.message}"
    )


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What each example is the same as.

    Attributes:
        known: Index of the known example with the same digest, -1 where there is none; ``(N,)``.
        first: Index of the example that stands for all with the same digest, ``(N,)``; its own
            where it is that one.
    """

    known: Indices
    first: Indices

    @property
    def is_new(self) -> npt.NDArray[np.bool_]:
        """Describe which examples are neither known nor repeat another, shape ``(N,)``."""
        alone: npt.NDArray[np.bool_] = self.first == np.arange(len(self.first))
        return alone & (self.known < 0)

    @property
    def repeats(self) -> Indices:
        """Return the examples that are the same as another new one, ascending."""
        return np.flatnonzero((self.known < 0) & (self.first != np.arange(len(self.first))))


def find_duplicates(
    digests: npt.NDArray[np.void],
    splits: npt.NDArray[np.int8],
    known: npt.NDArray[np.void] | None = None,
    places: Indices | None = None,
) -> Duplicates:
    """Compare digests by sorting them, which needs no table of all keys.

    Of equal examples the first one stands for all, one for training before one for testing.

    Args:
        digests: 16 bytes each, shape ``(N,)``.
        splits: 1 for testing, shape ``(N,)``.
        known: Digests of the examples that exist already, shape ``(M,)``, each once.
        places: In the data, by which the first one is told, shape ``(N,)``; None for the order
            here.
    """
    before = np.empty(0, digests.dtype) if known is None else known
    num_known = len(before)
    halves = np.concatenate([before, digests]).view(np.uint64).reshape(-1, 2)
    rank = np.concatenate([np.zeros(num_known, np.int8), 1 + (splits == 1).astype(np.int8)])
    mine = np.arange(len(digests)) if places is None else places
    place = np.concatenate([np.zeros(num_known, np.int64), mine])
    order = np.lexsort((place, rank, halves[:, 1], halves[:, 0]))  # stable: equals stay in order
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (halves[order][1:] != halves[order][:-1]).any(axis=1)
    heads = order[starts][np.cumsum(starts) - 1]
    head_of = np.empty(len(order), dtype=np.int64)
    head_of[order] = heads
    mine = head_of[num_known:]
    return Duplicates(
        known=np.where(mine < num_known, mine, -1),
        first=np.where(mine < num_known, np.arange(len(mine)), mine - num_known),
    )
