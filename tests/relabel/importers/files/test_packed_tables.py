"""A table or a saved data set in an archive: unpacked into one folder, which goes afterwards."""

from __future__ import annotations

import gc
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relabel import archives
from relabel.errors import WorkspaceError
from relabel.importers.detect import open_source
from relabel.importers.files import trees
from relabel.importers.options import ImportOptions
from tests.relabel.importers.builders import make_tar, make_zip, pets, picture, preview, read, texts
from tests.relabel.importers.files.test_archives import link
from tests.relabel.importers.readers.test_saved_datasets import TEXTS, save_to_disk, text_table
from tracin_core.errors import InputError

MAKERS = pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tar.gz")])


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """Unpack where it can be looked at."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def table(rows: int = 20) -> bytes:
    lines = [f"the text of number {n} is this,{'good' if n % 2 else 'bad'}" for n in range(rows)]
    return ("text,label\n" + "\n".join(lines) + "\n").encode()


@MAKERS
def test_a_table_in_an_archive_is_read_like_the_table(tmp_path, temporary, make, name):
    path = make(tmp_path / name, {"set/reviews.csv": table(), "set/README.txt": b"Read me"})
    found = preview(path)
    assert (found.format, found.kind, found.num_usable) == ("table", "text", 20)
    assert "the table reviews.csv, and is unpacked" in found.notes[0]
    assert [r.key() for r in read(path)] == [r.key() for r in read(texts(tmp_path / "t.csv", 20))]
    gc.collect()
    assert list(temporary.iterdir()) == []


@MAKERS
def test_a_table_beside_its_images_is_read(tmp_path, make, name):
    members = {f"photos/{n}.png": picture(n) for n in range(10)}
    rows = "".join(f"photos/{n}.png,{'ab'[n % 2]}\n" for n in range(11))
    path = make(tmp_path / name, {"list.csv": f"file,label\n{rows}".encode(), **members})
    found = preview(path)
    assert (found.kind, found.counts) == ("image", {"train": 8, "test": 2})
    assert [(p.where, p.what) for p in found.problems] == [("row 12", "missing image")]


@pytest.mark.parametrize("name", ["data.parquet", "data.jsonl", "data.csv.gz", "data.npz"])
def test_tables_of_all_kinds_are_found(tmp_path, name):
    frame = pd.DataFrame({"text": [f"the text {n}" for n in range(20)], "label": ["a", "b"] * 10})
    buffer = io.BytesIO()
    if name.endswith("parquet"):
        frame.to_parquet(buffer)
    elif name.endswith("jsonl"):
        frame.to_json(buffer, orient="records", lines=True)
    elif name.endswith("npz"):
        np.savez(buffer, x=np.arange(40).reshape(20, 2), y=np.arange(20) % 2)
    else:
        frame.to_csv(buffer, index=False, compression="gzip")
    path = make_zip(tmp_path / "data.zip", {name: buffer.getvalue()})
    assert preview(path).num_usable == 20


@MAKERS
def test_a_saved_dataset_in_an_archive_is_read(tmp_path, make, name):
    folder = save_to_disk(tmp_path / "saved", text_table(), TEXTS)
    files = {
        f"saved/{one.relative_to(folder)}": one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file()
    }
    found = preview(make(tmp_path / name, files))
    assert found.format == "huggingface"
    assert found.num_usable == preview(folder).num_usable


def test_images_in_folders_are_not_unpacked(tmp_path, temporary):
    members = {name: picture(n) for n, name in enumerate(pets())}
    source = open_source(make_zip(tmp_path / "a.zip", members), ImportOptions())
    assert source.format == "image-folder"
    assert list(temporary.iterdir()) == []


def test_a_table_that_names_no_picture_is_passed_over_beside_class_folders(tmp_path):
    members = {name: picture(n) for n, name in enumerate(pets())}
    path = make_zip(tmp_path / "a.zip", {**members, "notes.csv": table(4)})
    found = preview(path)
    assert (found.kind, found.problem_counts) == ("image", {"in no class folder": 1})
    assert any("what a table says is left out: notes.csv" in note for note in found.notes)
    assert preview(path, format="table").kind == "text"


@MAKERS
def test_several_tables_are_refused_with_the_way_out(tmp_path, temporary, make, name):
    path = make(tmp_path / name, {"a/train.csv": table(), "a/test.csv": table()})
    with pytest.raises(InputError, match=r"2 tables: test.csv, train.csv.*Unpack it, and import"):
        preview(path)
    assert list(temporary.iterdir()) == []


OUTSIDE = ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "C:/evil.csv"]


@MAKERS
@pytest.mark.parametrize("outside", OUTSIDE)
def test_a_path_that_leads_outside_is_refused(tmp_path, temporary, make, name, outside):
    path = make(tmp_path / name, {"data.csv": table(), outside: b"evil"})
    before = {one for one in tmp_path.rglob("*") if not one.is_relative_to(temporary)}
    with pytest.raises(InputError, match="outside its folder"):
        preview(path)
    assert {one for one in tmp_path.rglob("*") if not one.is_relative_to(temporary)} == before
    assert list(temporary.iterdir()) == []


def test_links_and_devices_are_refused(tmp_path, temporary):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        path = make_tar(tmp_path / "a.tar", {"data.csv": table(), "x": link("x", "/etc", kind)})
        with pytest.raises(InputError, match="is a link"):
            preview(path)
    assert list(temporary.iterdir()) == []


@MAKERS
def test_what_unpacks_to_far_too_much_is_refused_before(
    tmp_path, temporary, monkeypatch, make, name
):
    monkeypatch.setattr(archives, "_SMALL", 10_000)
    monkeypatch.setattr(archives, "LARGEST_GROWTH", 2)
    path = make(tmp_path / name, {"data.csv": table(2), "zeros": bytes(10**6)})
    if make is make_zip:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data.csv", table(2))
            archive.writestr("zeros", bytes(10**6))
    with pytest.raises(InputError, match="unpack it and import"):
        preview(path)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("names", [["a.csv", "a.csv/b"], ["a.csv", f"b/{'x' * 300}"]])
def test_names_that_cannot_be_made_are_said(tmp_path, temporary, names):
    path = make_zip(tmp_path / "a.zip", dict.fromkeys(names, table()))
    with pytest.raises(InputError, match="cannot be made here"):
        trees.unpack_archive(path, tmp_path / "out")


def test_a_damaged_or_encrypted_archive_is_said(tmp_path, temporary):
    path = make_zip(tmp_path / "a.zip", {"data.csv": table()})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"number 3 is", b"number 4 is"))
    with pytest.raises(InputError, match="cannot be unpacked"):
        preview(path)
    entry = whole.index(b"PK\x01\x02")
    flagged = bytearray(whole)
    flagged[6] |= 1
    flagged[entry + 8] |= 1  # the flags say: encrypted
    path.write_bytes(flagged)
    with pytest.raises(InputError, match="a password"):
        preview(path)
    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_said(tmp_path, temporary, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trees.shutil, "copyfileobj", fail)
    path = make_zip(tmp_path / "a.zip", {"data.csv": table()})
    with pytest.raises(WorkspaceError, match="disk is full"):
        preview(path)
    assert list(temporary.iterdir()) == []
