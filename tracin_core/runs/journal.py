"""Which shards of a run are finished: one flushed line each, so that a kill loses none."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from tracin_core.files import naming, write_text
from tracin_core.terms import Split


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

    The first line says what the run is made from; a journal of another making is not used.
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
        """Open a journal of the same making; None where there is none.

        A last line that a kill has cut off is taken away: its shard will be done again.
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
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        return cls(path, shards)

    def record(self, shard: FinishedShard) -> None:
        """Note a shard whose numbers are on the disk already."""
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
