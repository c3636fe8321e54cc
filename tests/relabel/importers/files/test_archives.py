"""A folder of images in a zip or tar archive: the same, and nothing is ever unpacked."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from relabel import archives
from relabel.importers.files.trees import unpack_archive
from tests.relabel.importers.builders import (
    make_tar,
    make_zip,
    pets,
    picture,
    preview,
    problems,
    read,
)
from tracin_core.errors import InputError

MEMBERS = {f"pets/{name}": picture(n) for n, name in enumerate(pets("train", "test"))}


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar.gz", "pets.tar", "pets.without.ending"])
def test_an_archive_is_read_like_the_folder(tmp_path, name):
    make = make_zip if name.endswith(("zip", "ending")) else make_tar
    found = preview(make(tmp_path / name, MEMBERS))
    assert (found.format, found.classes) == ("image-folder", ("cat", "dog"))
    assert found.counts == {"train": 6, "test": 6}
    assert sorted(tmp_path.iterdir()) == [tmp_path / name]


def test_contents_and_keys_are_those_of_the_files(tmp_path):
    by_zip = {r.where: r.key() for r in read(make_zip(tmp_path / "a.zip", MEMBERS))}
    by_tar = {r.where: r.key() for r in read(make_tar(tmp_path / "a.tar.gz", MEMBERS))}
    assert by_zip == by_tar
    assert len(set(by_zip.values())) == 12


OUTSIDE = ["../../evil.png", "/etc/evil.png", "pets/../../evil.png", "C:/evil.png"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leads_outside_is_refused_and_written_nowhere(tmp_path, make):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    path = make(inner / "pets.zip", MEMBERS | {name: picture(90) for name in OUTSIDE})
    before = sorted(tmp_path.rglob("*"))
    found = preview(path)
    assert found.problem_counts == {"outside the data folder": len(OUTSIDE)}
    assert found.num_usable == 12
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/etc/evil.png").exists()


def test_links_and_devices_in_a_tar_are_refused(tmp_path):
    strange = {
        "pets/train/cat/link.png": link("pets/train/cat/link.png", "/etc/passwd"),
        "pets/train/cat/hard.png": link("pets/train/cat/hard.png", "/etc/passwd", tarfile.LNKTYPE),
        "pets/train/cat/pipe": link("pets/train/cat/pipe", "", tarfile.FIFOTYPE),
    }
    found = problems(make_tar(tmp_path / "pets.tar.gz", MEMBERS | strange))
    assert [problem.what for problem in found] == ["no plain file"] * 3


def test_a_link_in_a_zip_is_refused(tmp_path):
    path = make_zip(tmp_path / "pets.zip", MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("pets/train/cat/link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "../dog/0.png")
    assert [problem.what for problem in problems(path)] == ["no plain file"]
    assert len(read(path)) == 12


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_member_too_large_for_an_image_is_not_unpacked(tmp_path, make):
    members = MEMBERS | {"pets/train/cat/huge.png": bytes(26 * 2**20)}
    assert [p.what for p in problems(make(tmp_path / "pets.zip", members))] == ["file too large"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_an_archive_that_unpacks_to_far_too_much_is_refused(tmp_path, monkeypatch, make):
    monkeypatch.setattr(archives, "_SMALL", 10_000)
    monkeypatch.setattr(archives, "LARGEST_GROWTH", 2)
    path = make(tmp_path / "bomb.tar.gz", MEMBERS | {"pets/train/cat/zeros": bytes(10**7)})
    if make is make_zip:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("pets/train/cat/zeros", bytes(10**7))
    with pytest.raises(InputError, match="unpack it and import the folder"):
        preview(path)


def test_an_encrypted_member_is_named(tmp_path):
    path = make_zip(tmp_path / "pets.zip", MEMBERS)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1  # the flag in the directory says: encrypted
    path.write_bytes(data)
    assert [p.what for p in problems(path)] == ["encrypted"]


def test_a_damaged_member_is_named_and_the_others_go_on(tmp_path):
    path = make_zip(tmp_path / "pets.zip", MEMBERS)
    data = bytearray(path.read_bytes())
    data[data.index(picture(0)) + 60] ^= 0xFF
    path.write_bytes(data)
    assert [p.what for p in problems(path)] == ["damaged in the archive"]
    assert len(read(path)) == 11


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_is_packed_otherwise_than_it_says_is_named(tmp_path, method):
    path = make_zip(tmp_path / "pets.zip", MEMBERS)
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = method
    path.write_bytes(data)
    assert [p.what for p in problems(path)] == ["damaged in the archive"]
    assert len(read(path)) == 11


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_table_that_is_packed_otherwise_than_it_says_is_damaged(tmp_path, method):
    path = make_zip(tmp_path / "d.zip", {"d.csv": b"text,label\n" + b"a,b\nc,d\n" * 20})
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = method
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack_archive(path, tmp_path / "unpacked")


def test_a_table_that_lies_before_its_archive_is_damaged(tmp_path):
    path = make_zip(tmp_path / "d.zip", {"d.csv": b"text,label\n" + b"a,b\nc,d\n" * 20})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x05\x06") + 16] += 9  # where its list of files begins
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be unpacked: .*Invalid argument"):
        unpack_archive(path, tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar.gz"])
def test_a_cut_off_archive_is_refused(tmp_path, name):
    path = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, MEMBERS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"damaged or cut off|no kind that can be imported"):
        preview(path)


def test_clutter_of_a_mac_is_passed_over(tmp_path):
    members = MEMBERS | {"__MACOSX/pets/train/cat/._0.png": b"x", "pets/.DS_Store": b"x"}
    assert preview(make_zip(tmp_path / "pets.zip", members)).problem_counts == {}
