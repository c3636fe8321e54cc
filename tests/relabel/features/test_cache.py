from __future__ import annotations

import numpy as np
import pytest
import torch

from relabel.features.datasets import StoredDataset
from relabel.features.encoding import drop_caches, name_cache, open_cache, write_cache
from relabel.features.text import TextEncoder
from tests.relabel.features.in_memory import encode_examples
from tracin_core.errors import InputError

ENCODER = TextEncoder(vocabulary=("a", "b", "c"), max_tokens=4)
TEXTS = [f"{'abc'[i % 3]} {'abc'[i % 2]}" for i in range(1100)]


def write(folder, texts=TEXTS, on_encoded=lambda done: None):
    write_cache(folder, ENCODER, texts, len(texts), on_encoded)


def test_what_is_stored_is_what_encoding_in_memory_gives(tmp_path):
    told = []
    write(tmp_path / "cache", on_encoded=told.append)
    assert told == [512, 1024, 1100]
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


def test_what_nothing_uses_is_deleted(tmp_path):
    for name in ("used", "stale", ".half.new"):
        (tmp_path / "encoded" / name).mkdir(parents=True)
    drop_caches(tmp_path / "encoded", ["used"])
    assert [path.name for path in (tmp_path / "encoded").iterdir()] == ["used"]
    drop_caches(tmp_path / "nothing", [])
