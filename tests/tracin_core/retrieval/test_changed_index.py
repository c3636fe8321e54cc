"""Annoy's files are read by native code that believes them: a changed one is never opened.

The damage is done for real; each search runs in a process of its own, because what is tested is
whether that process lives.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relabel.triage.evidence import mend_indexes, open_evidence
from tests.relabel.triage.test_evidence import run_folder  # noqa: F401 - a fixture
from tracin_core.errors import RetrievalError
from tracin_core.retrieval import build_index, open_index

ROWS, NUMBERS = 3000, 512  # more than is scanned exactly, so that Annoy has a band


def spread_vectors() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.standard_normal((ROWS, NUMBERS)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, Path]:
    """Return vectors and an index of them with at least one file of Annoy's."""
    root = tmp_path_factory.mktemp("annoy")
    np.save(root / "vectors.npy", spread_vectors())
    build_index(np.load(root / "vectors.npy", mmap_mode="r"), "annoy", root / "index")
    assert list((root / "index").rglob("*.ann"))
    return root / "vectors.npy", root / "index"


def all_ones(content: bytearray) -> None:
    content[:] = b"\xff" * len(content)


def large_numbers(content: bytearray) -> None:
    content[:] = b"\x7f" * len(content)


def scattered(content: bytearray) -> None:
    wild = random.Random(0)
    for _ in range(2000):
        place = wild.randrange(len(content) - 4) & ~3
        content[place : place + 4] = wild.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x40", b"\1\0\0\0"])


def one_bit(content: bytearray) -> None:
    content[len(content) // 2] ^= 1


SEARCH = """
import sys, numpy as np
from tracin_core.errors import RetrievalError
from tracin_core.retrieval import open_index
vectors = np.load(sys.argv[1], mmap_mode="r")
for path in sys.argv[2:]:
    try:
        index = open_index(path, vectors)
    except RetrievalError as error:
        print(error)
        continue
    index.search(vectors[:5], 6, "opponents")
    print("searched")
"""


def test_no_damage_ends_the_process_and_all_is_refused(saved, tmp_path):
    vectors, index = saved
    damages: list[Callable[[bytearray], None]] = [all_ones, large_numbers, scattered, one_bit]
    places = [index]
    for damage in damages:
        copy = tmp_path / damage.__name__
        for path in index.rglob("*"):
            if path.is_file():
                target = copy / path.relative_to(index)
                target.parent.mkdir(parents=True, exist_ok=True)
                content = bytearray(path.read_bytes())
                if path.suffix == ".ann":
                    damage(content)
                target.write_bytes(content)
        places.append(copy)
    command = [sys.executable, "-c", SEARCH, str(vectors), *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first == "searched"
    assert all("is not used: bands/band-" in other for other in others)
    assert len(others) == len(damages)


@pytest.mark.parametrize("name", ["order.npy", "rows.npy", "bands.json"])
def test_every_other_file_of_an_index_is_looked_at_too(saved, tmp_path, name):
    vectors, index = saved
    copy = copied(index, tmp_path / "copy")
    (copy / "bands" / name).write_bytes((copy / "bands" / name).read_bytes() + b" ")
    with pytest.raises(RetrievalError, match=f"bands/{name} changed after it was built"):
        open_index(copy, np.load(vectors))


def test_a_link_in_the_place_of_a_file_is_refused(saved, tmp_path):
    vectors, index = saved
    copy = copied(index, tmp_path / "copy")
    file = next(copy.rglob("*.ann"))
    file.unlink()
    file.symlink_to(next(index.rglob("*.ann")))
    with pytest.raises(RetrievalError, match="is no plain file"):
        open_index(copy, np.load(vectors))


def test_an_annoy_index_without_digests_is_not_opened(saved, tmp_path):
    vectors, index = saved
    copy = copied(index, tmp_path / "copy")
    record = json.loads((copy / "index.json").read_text())
    del record["digests"]
    (copy / "index.json").write_text(json.dumps(record))
    with pytest.raises(RetrievalError, match="before digests were kept"):
        open_index(copy, np.load(vectors))


def test_a_change_while_it_is_open_is_noticed_though_its_time_is_put_back(run_folder):  # noqa: F811
    evidence = open_evidence(run_folder.root)
    before = evidence.neighbours("test", 0, side="proponents")
    path = run_folder.index_path("all") / "norms.npy"
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert evidence.neighbours("test", 0, side="proponents") == before
    assert "norms.npy changed after it was built" in evidence.index_fault()


def test_mending_builds_what_is_missing_or_changed_and_nothing_else(run_folder):  # noqa: F811
    (run_folder.index_path("last") / "norms.npy").write_bytes(b"")
    assert mend_indexes(run_folder) == ["last"]
    assert mend_indexes(run_folder) == []
    assert open_evidence(run_folder.root).index_fault("last") == ""


def copied(index: Path, target: Path) -> Path:
    for path in index.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(index)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return target
