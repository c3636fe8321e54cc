"""Small files that stand for gigabytes: refused by what they claim, before anything is decoded.

All are read one after the other in one process of its own, whose largest memory is measured: a
single one that is decoded first would show.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.importers.detect import open_source
from relabel.importers.files.trees import unpack_archive
from relabel.importers.options import ImportOptions
from tests.relabel.importers.builders import (
    image_folder,
    make_zip,
    pets,
    picture,
    preview,
    problems,
    read,
)
from tracin_core.errors import InputError

# What the process may take beyond Python and the libraries that reading loads (120 to 180 MB).
LARGEST = 380 * 10**6  # bytes
LONG = 6_000_000  # characters
ROWS = 400


def labels(count: int = ROWS) -> list[str]:
    return ["a", "b"] * (count // 2)


def write_parquet(path: Path, values: pa.Array, **how: object) -> Path:
    table = pa.table({"text": values, "label": labels(len(values))})
    pq.write_table(table, path, compression="zstd", **how)
    return path


def one_long_text() -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), pa.array(["x" * LONG]))


def save_arrow(folder: Path, table: pa.Table, compression: str | None = None) -> Path:
    folder.mkdir()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(folder / "d.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema, options=options) as writer,
    ):
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "d.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def npy(kind: str, shape: str, data: bytes = b"") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data


TWO_LABELS = npy("<i8", "(2,)", struct.pack("<2q", 0, 1))


def tar_with(path: Path, kind: bytes, size: int = 0, flag: int = 0) -> Path:
    """Write a packed tar whose first header claims something; what it claims is not there."""
    header = tarfile.TarInfo("name.png")
    header.type, header.size = kind, size
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[482] = flag
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path.write_bytes(gzip.compress(bytes(block) + b"\0" * 1024))
    return path


def view_of_one_text(path: Path) -> Path:
    views = (struct.pack("<i", LONG) + b"xxxx" + struct.pack("<ii", 0, 0)) * ROWS
    buffers = [None, pa.py_buffer(views), pa.py_buffer(b"x" * LONG)]
    text = pa.Array.from_buffers(pa.string_view(), ROWS, buffers)
    return save_arrow(path, pa.table({"text": text, "label": labels()}))


# Each: what writes it into a folder, and what the message says.
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a dictionary's one text, 400 times": (
        lambda at: write_parquet(at / "dictionary.parquet", one_long_text()),
        "A cell has 6,000,000 characters",
    ),
    "texts that go on from the one before": (
        lambda at: write_parquet(
            at / "delta.parquet",
            pa.array([f"{'z' * 2_500_000}{n}" for n in range(40)]),
            use_dictionary=False,
            column_encoding={"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
        ),
        "A cell has 2,500,00",
    ),
    "bytes of one width": (
        lambda at: write_parquet(
            at / "fixed.parquet",
            pa.array([b"q" * 2_000_000] * 100, pa.binary(2_000_000)),
            dictionary_pagesize_limit=10_000_000,
        ),
        "No column is left",
    ),
    "a list of thirty million zeros": (
        lambda at: write_parquet(
            at / "list.parquet",
            pa.ListArray.from_arrays(
                pa.array([0, 1, 30_000_000], pa.int32()), pa.array(np.zeros(30_000_000, np.int8))
            ),
            write_statistics=False,
        ),
        "at most 256 MB for its size",
    ),
    "300 MB of one letter": (
        lambda at: write_parquet(
            at / "packed.parquet",
            pa.array([b"v" * 150_000_000] * 2),
            use_dictionary=False,
            write_statistics=False,
        ),
        "at most 256 MB for its size",
    ),
    "ten million equal rows": (
        lambda at: write_parquet(
            at / "rows.parquet", pa.array(np.zeros(10_000_000, np.int8)), row_group_size=10**7
        ),
        "No column is left",
    ),
    "an Arrow dictionary": (
        lambda at: save_arrow(
            at / "dictionary", pa.table({"text": one_long_text(), "label": labels()})
        ),
        "A cell has 6,000,000 characters",
    ),
    "an Arrow run": (
        lambda at: save_arrow(
            at / "run",
            pa.table(
                {
                    "text": pa.RunEndEncodedArray.from_arrays(
                        pa.array([ROWS], pa.int32()), pa.array(["x" * LONG])
                    ),
                    "label": labels(),
                }
            ),
        ),
        "A cell has 6,000,000 characters",
    ),
    "Arrow views of one text": (
        lambda at: view_of_one_text(at / "views"),
        "A cell has 6,000,000 characters",
    ),
    "two thousand million rows of nothing": (
        lambda at: save_arrow(at / "nothing", pa.table({"text": pa.nulls(2**31 - 1)})),
        "claims 2,147,483,647 rows",
    ),
    "a packed Arrow batch": (
        lambda at: save_arrow(
            at / "batch", pa.table({"text": ["v" * 280_000_000], "label": ["a"]}), "zstd"
        ),
        "at most 256 MB for its size",
    ),
    "an array of huge pictures": (
        lambda at: make_zip(
            at / "pictures.npz",
            {"x.npy": npy("|u1", "(2, 20000, 20000, 4)"), "y.npy": TWO_LABELS},
        ),
        "at most 50 million pixels",
    ),
    "an array of a negative size": (
        lambda at: make_zip(
            at / "negative.npz", {"x.npy": npy("|u1", "(-2, 8, 8)"), "y.npy": TWO_LABELS}
        ),
        "a shape of (-2, 8, 8)",
    ),
    "an array with a header that is cut off": (
        lambda at: make_zip(at / "cut.npz", {"x.npy": b"\x93NUMPY\1\0\x10\0{'descr': [[[[[\n"}),
        "a damaged header",
    ),
    "an array with a header of a gigabyte": (
        lambda at: make_zip(
            at / "header.npz", {"x.npy": b"\x93NUMPY\2\0" + struct.pack("<I", 2**30)}
        ),
        "a header of 1,073,741,824 bytes",
    ),
    "a tar with a name of a gigabyte": (
        lambda at: tar_with(at / "name.tar.gz", tarfile.GNUTYPE_LONGNAME, 2**30),
        "a name or attributes of 1,073,741,824 bytes",
    ),
    "a tar with attributes of a gigabyte": (
        lambda at: tar_with(at / "attributes.tar.gz", tarfile.XHDTYPE, 2**30),
        "a name or attributes of 1,073,741,824 bytes",
    ),
    "a tar with holes without end": (
        lambda at: tar_with(at / "holes.tar.gz", tarfile.GNUTYPE_SPARSE, 100, flag=1),
        "with holes (sparse)",
    ),
    "a zip of folders in folders": (
        lambda at: make_zip(at / "deep.zip", {f"{'a/' * 15_000}{n}.png": b"x" for n in range(20)}),
        "15,000 folders deep",
    ),
    "a table of 50,000 columns": (
        lambda at: write_text(at / "wide.csv", ",".join(f"c{n}" for n in range(50_000)) + "\n1\n"),
        "50,000 columns, expected at most 1,000",
    ),
    "objects of 50,000 keys": (
        lambda at: write_text(
            at / "wide.jsonl", json.dumps({f"k{n}": 1 for n in range(50_000)}) + "\n"
        ),
        "50,000 columns, expected at most 1,000",
    ),
    "new keys in every object": (
        lambda at: write_text(
            at / "new.jsonl",
            "\n".join(json.dumps({f"{n}-{m}": 1 for m in range(900)}) for n in range(60)),
        ),
        "columns, expected at most 1,000",
    ),
    "brackets in brackets": (
        lambda at: write_text(at / "nested.jsonl", f'{{"text": {"[" * 100_000}\n' * 2),
        "holds no JSON objects",
    ),
    "a row without end": (
        lambda at: pack(at / "row.csv.gz", b"text,label\n" + (b'"' + b"w" * 10**6 + b'\n",') * 40),
        "A row goes on over",
    ),
    "a table of 300 MB in gzip": (
        lambda at: pack(
            at / "table.csv.gz", b"text,label\n", (b"words " * 40 + b",b\n") * 5_000, 250
        ),
        "unpacks to more than 256 MB",
    ),
}


def write_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def pack(path: Path, content: bytes, repeated: bytes = b"", times: int = 0) -> Path:
    """Write a gzip file, with a member that is packed once and then written again and again."""
    path.write_bytes(gzip.compress(content, 1) + gzip.compress(repeated, 9) * times)
    return path


READ = """
import json, resource, sys
import numpy, pandas, PIL.Image, pyarrow.csv, pyarrow.dataset, pyarrow.parquet
from pathlib import Path
from tracin_core.errors import InputError
from relabel.importers.options import ImportOptions
from relabel.importers.detect import open_source
def measure():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss, which Linux hands on from the process that started this one.
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) * 1024


told = [measure()]
for path in sys.argv[1:]:
    try:
        told.append(open_source(Path(path), ImportOptions()).preview().format)
    except InputError as error:
        told.append(str(error))
    told.append(measure())
print(json.dumps(told))
"""


@pytest.mark.slow  # writing and reading the files takes some seconds
def test_no_small_file_takes_the_memory(tmp_path):
    paths = [make(tmp_path) for make, _ in HOSTILE.values()]
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * 10**9, 4 * 10**9)),
    )
    assert done.returncode == 0, done.stderr
    before, *answers = json.loads(done.stdout)
    largest = before
    for (name, (_, words)), told, taken in zip(
        HOSTILE.items(), answers[::2], answers[1::2], strict=True
    ):
        assert words in told, name
        grown = f"{name}: {taken / 1e6:.0f} MB after {largest / 1e6:.0f} and {before / 1e6:.0f}"
        assert taken - before < LARGEST, grown
        largest = taken


QUICK = [
    *("an array of huge pictures", "an array of a negative size"),
    *("an array with a header of a gigabyte", "a tar with a name of a gigabyte"),
    *("a tar with attributes of a gigabyte", "a tar with holes without end"),
    *("a table of 50,000 columns", "objects of 50,000 keys", "an Arrow dictionary"),
    *("two thousand million rows of nothing", "a dictionary's one text, 400 times"),
]


@pytest.mark.parametrize("name", QUICK)
def test_what_is_claimed_is_refused_with_what_was_found(tmp_path, name):
    make, words = HOSTILE[name]
    path = make(tmp_path)
    with pytest.raises(InputError) as told:
        open_source(path, ImportOptions()).preview()
    assert words in str(told.value)


def test_values_of_a_dictionary_are_read_like_plain_ones(tmp_path):
    values = ["a text of some words", None, "another text of words", "a text of some words"] * 300
    for name, kind in (("plain", pa.string()), ("coded", pa.dictionary(pa.int32(), pa.string()))):
        table = pa.table({"text": pa.array(values).cast(kind), "label": labels(len(values))})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    plain, coded = (read(tmp_path / f"{name}.parquet") for name in ("plain", "coded"))
    assert [one.text for one in plain] == [one.text for one in coded]
    assert len(plain) == 900


@pytest.mark.parametrize("size", [10, 200_000])
def test_pictures_in_a_dictionary_are_read_byte_by_byte(tmp_path, size):
    data = [picture(n) + bytes(size) for n in (0, 1, 2, 1, 0)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    values = pa.array([{"bytes": one, "path": None} for one in data] + [None], kind)
    table = pa.table({"image": values, "label": ["a", "b", "a", "b", "a", "b"]})
    pq.write_table(table, tmp_path / "pictures.parquet")
    records = read(tmp_path / "pictures.parquet")
    assert [one.image.data for one in records] == data


def test_a_zip_names_what_no_zip_can_hold(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"cat/?.png": b"1", "dog/2.png": b"2"})
    content = path.read_bytes()
    bad = content.replace(b"cat/?.png", b"cat/\xff.png")
    flags = bytearray(bad)
    for start, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = flags.index(start) + place
        flags[at : at + 2] = struct.pack("<H", 0x800)  # names are UTF-8, it says
    (tmp_path / "bad.zip").write_bytes(flags)
    with pytest.raises(InputError, match=r"bad\.zip names a file with bytes that are no UTF-8"):
        open_source(tmp_path / "bad.zip", ImportOptions())


def test_a_zip_with_a_file_without_a_name_is_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"c": b"1", "dog/2.png": b"2"})
    content = path.read_bytes()
    for start, length, name in ((b"PK\3\4", 26, 30), (b"PK\1\2", 28, 46)):
        at = content.index(start)
        shorter = bytearray(content[at : at + name])
        shorter[length : length + 2] = b"\0\0"
        content = content[:at] + bytes(shorter) + content[at + name + 1 :]
    end = bytearray(content[content.index(b"PK\5\6") :])
    first, second = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    end[12:20] = struct.pack("<II", second - first, first)
    moved = bytearray(content[:second])
    at = moved.index(b"PK\1\2", first + 4)
    moved[at + 42 : at + 46] = struct.pack("<I", moved.index(b"PK\3\4", 4))
    path.write_bytes(bytes(moved) + bytes(end))
    with pytest.raises(InputError, match=r"a\.zip holds a file without a name"):
        open_source(path, ImportOptions())


def test_a_second_file_of_the_same_name_does_not_replace_the_first(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("x/notes.txt", "first")
            archive.writestr("x/notes.txt", "second")
    with pytest.raises(InputError, match="cannot be made here"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "out")


def test_pipes_devices_and_folders_of_them_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "data.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for path in ("data.csv", "zero.csv"):
        with pytest.raises(InputError, match=r"is a (named pipe|device).*, which is not read"):
            open_source(tmp_path / path, ImportOptions())
    for path in ("/dev/zero", "/dev", "/proc", "/proc/self/mem", "/sys/kernel"):
        if Path(path).exists():
            with pytest.raises(InputError, match=r"device|a part of the running system"):
                open_source(Path(path), ImportOptions())


def test_a_pipe_among_pictures_is_named_and_the_others_are_read(tmp_path):
    root = image_folder(tmp_path / "pets", pets())
    os.mkfifo(root / "cat" / "pipe.png")
    assert preview(root).num_usable == 6
    [problem] = problems(root)
    assert (problem.where, problem.what) == ("cat/pipe.png", "no plain file")
    assert "a named pipe (FIFO)" in problem.message


def test_a_pipe_that_a_table_names_is_left_out(tmp_path):
    image_folder(tmp_path, pets())
    os.mkfifo(tmp_path / "pipe.png")
    lines = [f"{name},{name[:3]}" for name in [*pets(), "pipe.png"]]
    (tmp_path / "table.csv").write_text("image,label\n" + "\n".join(lines) + "\n")
    found = preview(tmp_path / "table.csv")
    assert (found.num_usable, found.problem_counts) == (6, {"no plain file": 1})


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "d.arrow"])
def test_a_pipe_in_a_saved_data_set_is_refused(tmp_path, name):
    folder = save_arrow(tmp_path / "saved", pa.table({"text": ["a"], "label": ["b"]}))
    place = folder / name
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(InputError):
        open_source(folder, ImportOptions())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~nobody-has-this-account/data.csv", "home of an account"),
        (f"/data/{'a' * 300}.csv", "a name may have 255"),
        (f"/{'a/' * 3000}", "a whole path 4,096"),
        ("/data/a\0b.csv", "zero character"),
    ],
)
def test_a_path_that_no_file_can_have_is_said(path, words):
    with pytest.raises(InputError, match=words):
        open_source(Path(path), ImportOptions())


def test_links_in_a_circle_are_said(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="lead back to themselves"):
        open_source(tmp_path / "a", ImportOptions())


def test_a_picture_in_a_folder_of_a_thousand_folders_is_said(tmp_path):
    deep = tmp_path / "deep"
    image_folder(deep, [f"{'a/' * 110}1.png"])
    with pytest.raises(InputError, match="more than 100 folders below"):
        open_source(deep, ImportOptions()).preview()


def test_a_deeply_nested_state_is_said(tmp_path):
    folder = save_arrow(tmp_path / "saved", pa.table({"text": ["a"], "label": ["b"]}))
    (folder / "state.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="nested too deeply"):
        open_source(folder, ImportOptions())


def test_packed_tables_are_bounded_in_every_reading(tmp_path, monkeypatch):
    monkeypatch.setattr("relabel.importers.files.encoding.SMALL_GZIP", 100_000)
    buffer = io.BytesIO(b"text,label\n" + b"the same text again,a\n" * 20_000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(buffer.getvalue()))
    for encoding in (None, "utf-8"):
        with pytest.raises(InputError, match="unpacks to more than"):
            open_source(tmp_path / "a.csv.gz", ImportOptions(encoding=encoding)).preview()
