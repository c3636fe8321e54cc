from __future__ import annotations

import os
import resource
import signal
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from relabel.features.datasets import StoredDataset
from relabel.features.encoding import drop_caches, name_cache, open_cache, write_cache
from relabel.features.image import ImageEncoder
from relabel.features.text import TextEncoder
from tests.relabel.features.in_memory import encode_examples
from tracin_core.errors import InputError

ENCODER = TextEncoder(vocabulary=("a", "b", "c"), max_tokens=4)
TEXTS = [f"{'abc'[i % 3]} {'abc'[i % 2]}" for i in range(1100)]


def write(folder, texts=TEXTS, on_encoded=lambda done: None):
    write_cache(folder, ENCODER, lambda start: texts[start:], len(texts), on_encoded)


def test_what_is_stored_is_what_encoding_in_memory_gives(tmp_path):
    told = []
    write(tmp_path / "cache", on_encoded=told.append)
    assert told == [0, 512, 1024, 1100]
    stored = open_cache(tmp_path / "cache", ENCODER, len(TEXTS))
    assert isinstance(stored, np.memmap)
    labels = torch.arange(len(TEXTS)) % 2
    dataset = StoredDataset(stored, labels, ENCODER, digest="d")
    expected = encode_examples(ENCODER, TEXTS, labels)
    wanted = torch.tensor([1099, 0, 513, 0])
    for mine, theirs in zip(dataset.read_batch(wanted), expected.read_batch(wanted), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert torch.equal(dataset[7][0], expected[7][0])


def test_chosen_positions_are_a_data_set_of_their_own(tmp_path):
    write(tmp_path / "cache")
    stored = open_cache(tmp_path / "cache", ENCODER, len(TEXTS))
    labels = torch.arange(len(TEXTS))
    dataset = StoredDataset(stored, labels, ENCODER, digest="d", chosen=np.array([5, 9, 700]))
    inputs, targets = dataset.read_batch(torch.tensor([2, 0]))
    assert len(dataset) == 3
    assert targets.tolist() == [700, 5]
    assert torch.equal(inputs[0], ENCODER.encode(TEXTS[700]))


@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "header", "of other data"])
def test_a_cache_that_is_not_whole_is_not_used(tmp_path, damage):
    write(tmp_path / "cache")
    path = tmp_path / "cache" / "inputs.npy"
    if damage == "missing":
        path.unlink()
    elif damage == "of other data":
        write(tmp_path / "cache", TEXTS[:-1])
    elif damage == "header":  # brackets that nothing closes, which NumPy reads as Python
        path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))
    else:
        header = b"\x93NUMPY\1\0\x10\0{'descr': [[[[[\n"
        bad = {"cut": path.read_bytes()[:-1], "garbage": b"garbage", "header": header}
        path.write_bytes(bad[damage])
    assert open_cache(tmp_path / "cache", ENCODER, len(TEXTS)) is None


def test_a_bad_example_is_named_and_leaves_no_cache(tmp_path):
    with pytest.raises(InputError, match="position 2: The text is empty"):
        write(tmp_path / "cache", ["a", "b", " "])
    assert list(tmp_path.iterdir()) == []


def test_the_name_depends_on_contents_and_encoder():
    other = TextEncoder(vocabulary=("a",), max_tokens=4)
    names = {name_cache(ENCODER, "x"), name_cache(ENCODER, "y"), name_cache(other, "x")}
    assert len(names) == 3
    assert name_cache(ENCODER, "x") in names


def test_what_is_done_to_stored_rows_has_no_part_in_the_name():
    image = ImageEncoder(height=8, width=8)
    assert name_cache(image, "x") == name_cache(replace(image, mean=0.1, std=0.9), "x")
    assert name_cache(image, "x") != name_cache(replace(image, channels=3), "x")


def test_what_nothing_uses_is_deleted(tmp_path):
    folder = tmp_path / "encoded"
    other = TextEncoder(vocabulary=("a",), max_tokens=4)
    of_project = [name_cache(ENCODER, "now"), name_cache(other, "now")]
    unfinished = f".{of_project[1]}.unfinished"
    stale = [name_cache(ENCODER, "before"), f".{name_cache(other, 'before')}.unfinished"]
    left = [f".{of_project[0]}.old", ".half.new", "of-no-content"]
    for name in ("named", *of_project, unfinished, *stale, *left):
        (folder / name).mkdir(parents=True)
    drop_caches(folder, ["named"], of_contents=["now"])
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"named", *of_project, unfinished}
    drop_caches(folder)
    assert list(folder.iterdir()) == []
    drop_caches(tmp_path / "nothing")


class StoppedError(Exception):
    """Stands for whatever ends the work."""


def read_rows(folder: Path) -> bytes:
    return (folder / "inputs.npy").read_bytes()


def stop_after(folder: Path, rows: int) -> None:
    """Write a cache until so many rows are there."""

    def stop(done: int) -> None:
        if done == rows:
            raise StoppedError

    with pytest.raises(StoppedError):
        write(folder, on_encoded=stop)
    assert not folder.exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole") / "cache"
    write(folder)
    return read_rows(folder)


@pytest.mark.parametrize("rows", [0, 512, 1024, 1100])
def test_a_stopped_cache_goes_on_and_ends_with_the_same_bits(tmp_path, rows, whole):
    stop_after(tmp_path / "cache", rows)
    told = []
    write(tmp_path / "cache", on_encoded=told.append)
    assert told == [done for done in (0, 512, 1024, 1100) if done >= rows]
    assert read_rows(tmp_path / "cache") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["inputs.npy"]


def test_a_killed_cache_goes_on_and_ends_with_the_same_bits(tmp_path, whole):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if not child:
        kill = {512: lambda: os.kill(os.getpid(), signal.SIGKILL)}
        write(tmp_path / "cache", on_encoded=lambda done: kill.get(done, int)())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    told = []
    write(tmp_path / "cache", on_encoded=told.append)
    assert told == [512, 1024, 1100]
    assert read_rows(tmp_path / "cache") == whole


def damage_rows(at: int, unfinished: Path) -> None:
    with (unfinished / "inputs.npy").open("r+b") as file:
        file.seek(at)
        file.write(b"damage")


def cut(unfinished: Path, name: str, by: int) -> None:
    path = unfinished / name
    os.truncate(path, path.stat().st_size - by)


def add_garbage(unfinished: Path) -> None:
    with (unfinished / "journal.jsonl").open("ab") as file:
        file.write(b"\xff\n")


ROW = 16  # bytes of four int32
DAMAGES = {
    "none": (lambda at: None, 1024),
    "second batch": (partial(damage_rows, 128 + 600 * ROW), 512),
    "first batch": (partial(damage_rows, 128 + 3 * ROW), 0),
    "header": (partial(damage_rows, 20), 0),
    "length": (lambda at: cut(at, "inputs.npy", 1), 0),
    "last line": (lambda at: cut(at, "journal.jsonl", 5), 512),
    "garbage line": (add_garbage, 1024),
    "no journal": (lambda at: (at / "journal.jsonl").unlink(), 0),
    "empty journal": (lambda at: (at / "journal.jsonl").write_bytes(b""), 0),
    "of something else": (lambda at: (at / "journal.jsonl").write_bytes(b"{}\n"), 0),
    "no rows": (lambda at: (at / "inputs.npy").unlink(), 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_unfinished_cache_the_sound_batches_are_kept(tmp_path, damage, whole):
    stop_after(tmp_path / "cache", 1024)
    apply, sound = DAMAGES[damage]
    apply(tmp_path / ".cache.unfinished")
    told = []
    write(tmp_path / "cache", on_encoded=told.append)
    assert told[0] == sound
    assert read_rows(tmp_path / "cache") == whole


def test_a_full_disk_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cache\.unfinished/inputs\.npy"):
            write(tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []
