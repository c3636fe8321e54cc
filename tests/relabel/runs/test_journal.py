"""What the journal of a run says after a kill, and to whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from relabel.runs.shards import FinishedShard, Journal


def shard(start: int, split: str = "train") -> FinishedShard:
    return FinishedShard(split=split, start=start, stop=start + 10, computed=4, seconds=0.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def resume(path: Path, made_from: str = "this") -> Journal:
    journal = Journal.resume(path, made_from)
    assert journal is not None
    return journal


def test_finished_shards_are_known_by_split_and_in_order(path: Path):
    begun = Journal.begin(path, "this")
    for one in (shard(10), shard(0), shard(0, "test")):
        begun.record(one)
    for journal in (begun, resume(path)):
        assert journal.of_split("train") == [shard(0), shard(10)]
        assert journal.of_split("test") == [shard(0, "test")]
        assert journal.count_computed("train") == 8


def test_a_journal_of_another_making_is_not_used(path: Path):
    assert Journal.resume(path, "this") is None
    Journal.begin(path, "this").record(shard(0))
    assert Journal.resume(path, "that") is None
    assert resume(path).of_split("train") == [shard(0)]


def test_a_line_that_a_kill_cut_off_is_taken_away_and_the_next_stands_alone(path: Path):
    begun = Journal.begin(path, "this")
    begun.record(shard(0))
    whole = path.read_bytes()
    begun.record(shard(10))
    path.write_bytes(path.read_bytes()[:-5])
    again = resume(path)
    assert again.of_split("train") == [shard(0)]
    assert path.read_bytes() == whole
    again.record(shard(20))
    assert resume(path).of_split("train") == [shard(0), shard(20)]


@pytest.mark.parametrize(
    "content", [b"", b"no journal\n", b'{"made_from": "this"}\n{"split": 1}\n']
)
def test_a_damaged_journal_is_not_used(path: Path, content: bytes):
    path.write_bytes(content)
    assert Journal.resume(path, "this") is None
