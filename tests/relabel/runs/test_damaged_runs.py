"""Whatever a run's files hold, it is said in words, so that decisions go on without them."""

from __future__ import annotations

import json
import random
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.runs.folder import RunFolder
from relabel.triage.evidence import open_evidence
from tests.relabel.runs import builders
from tracin_core.errors import TracInError
from tracin_core.retrieval import build_index

COUNTS = {"train": 60, "test": 10}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "COUNTS", COUNTS)
        folder = builders.make_run_folder(tmp_path_factory.mktemp("sound") / "runs" / "r1")
    for layers in ("all", "last"):
        folder.index_path(layers).rmdir()
        build_index(folder.vectors(layers, "train"), "exact", folder.index_path(layers))
    return folder.root


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(sound, tmp_path / "project" / "runs" / "r1")))


def look(folder: RunFolder) -> list[str]:
    """Do all that pages do with a run; return what they would say."""
    uses: list[Callable[[], object]] = [
        lambda: list(folder.find_problems()),
        lambda: folder.read_signals("train", 3),
        lambda: folder.read_all_signals("train"),
        lambda: folder.read_probabilities("train", 3),
        lambda: folder.largest_probabilities("test"),
        lambda: open_evidence(folder.root).neighbours("train", 3, side="opponents", k=5),
        lambda: open_evidence(folder.root).neighbours(
            "test", 3, side="proponents", measure="cosine"
        ),
        lambda: open_evidence(folder.root).recall(),
    ]
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as numbers that are none cause in NumPy
        for use in uses:
            try:
                use()
            except TracInError as error:
                said.append(str(error))
        # No error: search goes on without the index, and the page says so.
        try:
            fault = open_evidence(folder.root).index_fault()
        except TracInError as error:
            fault = str(error)
    return [*said, fault] if fault else said


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def damages(content: bytes, suffix: str) -> Iterator[bytes]:
    yield b""
    yield content[: len(content) // 2]
    yield content[:20]
    yield bytes(reversed(content))
    yield b"\x00" * len(content)
    if suffix == ".npy":
        yield npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (60, 8, }\n")
        yield npy(b"(" * 5000 + b"\n")
        yield npy(b"[" * 90 + b"]" * 90 + b"\n")
        yield npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (10**15, 8), }\n")
        yield npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }\n" % 10**15)
        yield npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (60,), }\n")
        yield npy(b"{'descr': [], 'fortran_order': 7, 'shape': 'x', }\n")
        yield npy(b"{'descr': '<f4', 'shape': (-1, -1), 'fortran_order': True}\n")
        yield npy("{'descr': '<f4\u00e9\n".encode())
        yield npy(b"'''\n")
        yield npy(b"1e999999999999999999999L\n")
    if suffix == ".json":
        yield b"[" * 100_000
        yield b'{"a":' * 100_000
        yield b"null"
        yield b"[]"
        values = json.loads(content)
        for name in values:
            for odd in (None, "x", [1], 10**400):
                yield json.dumps(values | {name: odd}).encode()
            yield json.dumps({key: value for key, value in values.items() if key != name}).encode()
    chance = random.Random(0)
    for place in (0, len(content) - 64):
        for _ in range(8):
            changed = bytearray(content)
            at = max(0, place) + chance.randrange(min(128, len(content)))
            changed[min(at, len(content) - 1)] = chance.randrange(256)
            yield bytes(changed)


FILES = (
    *("run.json", "signals-train.parquet", "probabilities-train.npy", "probabilities-test.npy"),
    *("vectors-all-train.npy", "index-all/norms.npy", "index-all/index.json"),
)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_told_and_never_a_bug(run, name):
    (path,) = run.root.glob(name)
    content = path.read_bytes()
    silent = 0
    for number, damaged in enumerate(damages(content, path.suffix)):
        path.write_bytes(damaged)
        said = look(run)
        if number < 5:
            assert said, damaged[:60]
            assert all(len(words) < 2000 for words in said)
        silent += not said
    assert silent < 100  # a changed number is still a number
    path.write_bytes(content)
    assert look(run) == []


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"loss": ["a"] * 180}),
        pa.table({"x": list(range(180))}),
        pa.table({"loss": [[1.0]] * 180, "margin": [None] * 180}),
    ],
)
def test_a_table_of_something_else_is_told(run, table):
    good = pq.read_table(run.signals_path("train"))
    for name in good.column_names:
        if name not in table.column_names and "x" not in table.column_names:
            table = table.append_column(name, good.column(name))
    pq.write_table(table, run.signals_path("train"))
    assert any("signals-train.parquet" in words for words in look(run))


def test_largest_probabilities_of_impossible_classes_are_told(tmp_path, sound):
    from relabel.runs.folder import unpack_probabilities

    for odd in (np.nan, -1.0, 1e9, 300.0):
        stored = np.full(128, odd, dtype=np.float32)
        with pytest.raises(ValueError, match="outside 0 to 299"):
            unpack_probabilities(stored, 300)
