"""A checkpoint of some hundred bytes cannot take the memory, and sound ones are read as before."""

from __future__ import annotations

import struct
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from tracin_core.checkpoints import safe_globals
from tracin_core.checkpoints.formats import read_content
from tracin_core.errors import CheckpointError

MANY = struct.pack("<i", 2_000_000_000)


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def save_pickle(path: Path, value: bytes) -> Path:
    """Write an archive as torch's, whose one entry is made by these instructions."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}" + word("weight") + value + b"s.")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


def call(name: bytes, arguments: bytes) -> bytes:
    return b"c" + name + b"\n" + arguments + b"R"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bytearray", call(b"__builtin__\nbytearray", b"J" + MANY + b"\x85")),
        ("bytearray", call(b"builtins\nbytearray", b"J" + MANY + b"\x85")),
        ("Tensor", call(b"torch\nTensor", b"J" + MANY + b"\x85")),
        ("FloatTensor", call(b"torch\nFloatTensor", b"J" + MANY + b"\x85")),
        # The number comes out of the memo.
        (
            "bytearray",
            b"J" + MANY + b"q\0s" + word("b") + call(b"builtins\nbytearray", b"h\0\x85"),
        ),
    ],
)
def test_a_number_alone_makes_nothing_large(tmp_path, name, value):
    path = save_pickle(tmp_path / "a.pt", value)
    with pytest.raises(CheckpointError, match=rf"asks for a \S*{name}\S* of 2,000,000,000"):
        read_content(path)


def test_bytes_that_stand_in_the_file_are_read(tmp_path):
    torch.save({"note": bytearray(b"abc"), "weight": torch.ones(2)}, tmp_path / "a.pt")
    assert read_content(tmp_path / "a.pt")["note"] == bytearray(b"abc")


def test_torchs_own_table_is_as_it_was_afterwards(tmp_path):
    from torch import _weights_only_unpickler as unpickler

    before = dict(unpickler._get_allowed_globals())
    with safe_globals.bound_allocations():
        assert unpickler._get_allowed_globals() != before
    assert unpickler._get_allowed_globals() == before


def test_other_threads_read_their_files_meanwhile(tmp_path):
    torch.save({"note": bytearray(b"abc"), "weight": torch.ones(2)}, tmp_path / "a.pt")
    found = []
    with safe_globals.bound_allocations():
        reader = threading.Thread(
            target=lambda: found.append(torch.load(tmp_path / "a.pt", weights_only=True))
        )
        reader.start()
        reader.join()
    assert found[0]["note"] == bytearray(b"abc")


def test_an_archive_that_was_packed_to_nothing_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 70_000_000)
    with pytest.raises(CheckpointError, match="unpacks to 70,000,000, expected at most"):
        read_content(tmp_path / "a.pt")


def test_values_beside_the_tensors_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_globals, "LARGEST_PICKLE", 1000)
    torch.save({"weight": torch.ones(2)}, tmp_path / "a.pt")
    assert read_content(tmp_path / "a.pt")["weight"].tolist() == [1, 1]
    torch.save({"weight": torch.ones(2), "log": list(range(1000))}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="of plain values beside its tensors"):
        read_content(tmp_path / "b.pt")
