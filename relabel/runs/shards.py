"""A run's folder in the making: written shard by shard, continued after a kill.

While it is unfinished it has another name and a folder ``shards`` with the signals' parts and a
journal, in which each finished shard is one flushed line, so that a kill loses none. The folder
takes the run's name when everything is in it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.runs.folder import RunFolder, create_array, write_rows
from relabel.runs.signals import Signals, from_columns, merge_signals, write_signals
from relabel.text import Layers, Split
from tracin_core.files import naming, replace_folder, write_text


@dataclass(frozen=True, kw_only=True)
class FinishedShard:
    """Consecutive examples whose numbers are on the disk.

    Attributes:
        split: "train" or "test".
        start: Position of the first.
        stop: Position after the last.
        computed: How many were computed rather than taken from an earlier run.
        seconds: How long it took.
    """

    split: Split
    start: int
    stop: int
    computed: int
    seconds: float


class Journal:
    """The finished shards of one run, in memory as on disk.

    The first line says what the run is made from; a journal of another specification is not used.
    """

    def __init__(self, path: Path, shards: list[FinishedShard]) -> None:
        self._path = path
        self._shards = shards

    @classmethod
    def begin(cls, path: Path, made_from: str) -> Journal:
        """Start an empty journal."""
        write_text(path, json.dumps({"made_from": made_from}) + "\n")
        return cls(path, [])

    @classmethod
    def resume(cls, path: Path, made_from: str) -> Journal | None:
        """Open a journal of the same specification; None where there is none.

        A last line that a kill has cut off is taken away: its shard will be done again.
        """
        journal = cls.read(path, made_from)
        if journal is not None:
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(path, whole)
        return journal

    @classmethod
    def read(cls, path: Path, made_from: str) -> Journal | None:
        """Read a journal of the same specification, which another process may be writing.

        None where there is none.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        whole = content[: content.rfind(b"\n") + 1]
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()]
            shards = [FinishedShard(**line) for line in lines]
        except (ValueError, TypeError, RecursionError):
            return None
        if head != {"made_from": made_from}:
            return None
        return cls(path, shards)

    def record(self, shard: FinishedShard) -> None:
        """Record a shard whose numbers are on the disk already."""
        with naming(self._path), self._path.open("ab") as file:
            file.write(json.dumps(asdict(shard)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._shards.append(shard)

    def of_split(self, split: Split) -> list[FinishedShard]:
        """Return a split's finished shards, by position."""
        return sorted(
            (shard for shard in self._shards if shard.split == split),
            key=lambda shard: shard.start,
        )

    def count_computed(self, split: Split) -> int:
        """Return how many examples of the split's finished shards were computed."""
        return sum(shard.computed for shard in self.of_split(split))


_SHARDS, _JOURNAL = "shards", "journal.jsonl"
# How the names of a shard's arrays begin; zip archives take no more than plain names.
_SIGNAL, _VECTORS, _PROBABILITIES = "signal-", "vectors-", "probabilities"


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """Everything that is stored about B examples.

    Attributes:
        signals: Arrays of shape ``(C, B)``.
        probabilities: Class probabilities at the last checkpoint as they are stored, shape
            ``(B, K)``, or ``(B, 128)`` for many classes, or ``(B, 0)`` for regression.
        vectors: Gradient vectors of each layers that are scored, shape ``(B, D)``.
    """

    signals: Signals
    probabilities: npt.NDArray[np.float32]
    vectors: Mapping[Layers, npt.NDArray[np.float32]]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as arrays by name, as processes send it and files hold it."""
        signals, vectors = self.signals.list_columns(), self.vectors
        return {
            **{f"{_SIGNAL}{name}": values for name, values in signals.items()},
            **{f"{_VECTORS}{layers}": values for layers, values in vectors.items()},
            _PROBABILITIES: self.probabilities,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Shard:
        """Return the shard that ``to_arrays`` took apart."""

        def find(prefix: str) -> dict[Any, npt.NDArray[Any]]:
            named = arrays.items()
            return {n.removeprefix(prefix): v for n, v in named if n.startswith(prefix)}

        return cls(
            signals=from_columns(find(_SIGNAL)),
            probabilities=arrays[_PROBABILITIES],
            vectors=find(_VECTORS),
        )

    def replace_rows(self, rows: npt.NDArray[np.intp], other: Shard) -> Shard:
        """Return the shard with some examples' numbers taken from another, row by row."""
        return Shard(
            signals=self.signals.replace_examples(rows, other.signals),
            probabilities=_replace(self.probabilities, rows, other.probabilities),
            vectors={
                layers: _replace(values, rows, other.vectors[layers])
                for layers, values in self.vectors.items()
            },
        )


class UnfinishedRun:
    """A run that is being written.

    Attributes:
        folder: Where its files lie until it is finished.
        journal: Its finished shards.
    """

    def __init__(self, root: Path, journal: Journal) -> None:
        self.folder = RunFolder(root)
        self.journal = journal

    @classmethod
    def open(
        cls, root: Path, made_from: str, prepare: Callable[[RunFolder], None]
    ) -> UnfinishedRun:
        """Go on with a run, or begin it where there is none of the same specification.

        Args:
            root: The unfinished folder; one of another specification is deleted. The caller sees
                to it that one process at a time works on it.
            made_from: Digest of everything that decides the numbers.
            prepare: Puts into a new folder what shards need.
        """
        path = root / _SHARDS / _JOURNAL
        journal = Journal.resume(path, made_from)
        if journal is None:
            if root.exists():
                shutil.rmtree(root)
            path.parent.mkdir(parents=True)
            prepare(RunFolder(root))
            journal = Journal.begin(path, made_from)
        return cls(root, journal)

    @classmethod
    def watch(cls, root: Path, made_from: str) -> UnfinishedRun | None:
        """Open a run that another process writes; None where it has not begun."""
        journal = Journal.read(root / _SHARDS / _JOURNAL, made_from)
        return None if journal is None else cls(root, journal)

    def write_shard(
        self, split: Split, start: int, total: int, shard: Shard, *, computed: int, seconds: float
    ) -> None:
        """Write a shard's numbers to the disk, and then a line of the journal.

        Args:
            split: Which examples.
            start: Position of its first example.
            total: Examples in the split.
            shard: The numbers.
            computed: Examples that were computed for it.
            seconds: How long that took.
        """
        arrays = {self.folder.probabilities_path(split): shard.probabilities}
        for layers, vectors in shard.vectors.items():
            arrays[self.folder.vectors_path(layers, split)] = vectors
        for path, rows in arrays.items():
            if not rows.shape[1]:
                continue
            if not path.exists():
                create_array(path, (total, rows.shape[1]))
            write_rows(path, start, rows)
        write_signals(self._part(split, start), shard.signals, first_position=start)
        stop = start + len(shard.probabilities)
        self.journal.record(
            FinishedShard(split=split, start=start, stop=stop, computed=computed, seconds=seconds)
        )

    def finish_split(self, split: Split) -> None:
        """Join the parts of a split's signals, all of which must be there."""
        path = self.folder.signals_path(split)
        if not path.exists():
            parts = [self._part(split, shard.start) for shard in self.journal.of_split(split)]
            merge_signals(path, parts)

    def parts_folder(self, split: Split) -> Path:
        """Return where processes that write for themselves put the shards that they did."""
        return self.folder.root / _SHARDS / f"parts-{split}"

    def publish(self, root: Path) -> RunFolder:
        """Rename the finished folder to the run's name, in place of one that had it."""
        replace_folder(self.folder.root, root)
        remove_leftovers(root)
        return RunFolder(root)

    def _part(self, split: Split, start: int) -> Path:
        return self.folder.root / _SHARDS / f"signals-{split}-{start:010d}.parquet"


def remove_leftovers(root: Path) -> None:
    """Remove what only an unfinished run needs; a kill may have left it."""
    shutil.rmtree(root / _SHARDS, ignore_errors=True)


def _replace(
    values: npt.NDArray[np.float32], rows: npt.NDArray[np.intp], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    replaced = np.array(values)
    replaced[rows] = other
    return replaced
