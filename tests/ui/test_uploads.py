"""Uploads: nothing leaves the workspace's folder, and nothing of them stays there."""

from __future__ import annotations

import io
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest

from relabel.projects.uploads import remove_upload, sweep_uploads, upload_folder
from relabel.workspace import Workspace
from tracin_core.errors import InputError
from ui.uploads import hold_upload, name_of_data, receive_upload, safe_name


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "workspace", "sqlite://")


def zipped(members: dict[str, bytes], **links: str) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        for name, target in links.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    buffer.seek(0)
    return buffer


def left_over(workspace: Workspace) -> list[str]:
    folder = workspace.root / "uploads"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_lies_in_a_folder_of_its_own_and_is_removed_with_it(workspace):
    first = receive_upload(workspace, "a.csv", io.BytesIO(b"one"))
    second = receive_upload(workspace, "a.csv", io.BytesIO(b"two"))
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    remove_upload(workspace, first)
    assert not first.exists()
    assert second.exists()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("data.csv", "data.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\data.csv.gz", "data.csv.gz"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b\n.csv", "a_b_.csv"),
        ("x" * 300 + ".parquet", "x" * 112 + ".parquet"),
    ],
)
def test_a_name_from_a_browser_is_one_plain_file(name, kept):
    assert safe_name(name) == kept


def test_an_archive_is_unpacked_and_its_wrapping_taken_off(workspace):
    content = zipped(
        {
            "photos/cat/1.png": b"cat",
            "photos/dog/1.png": b"dog",
            "__MACOSX/photos/._1.png": b"?",
            "photos/.DS_Store": b"?",
        }
    )
    folder = receive_upload(workspace, "photos.zip", content)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["cat/1.png", "dog/1.png"]
    remove_upload(workspace, folder)
    assert left_over(workspace) == []


def test_an_archive_with_one_table_beside_its_images_gives_the_table(workspace):
    content = zipped({"set/labels.csv": b"file,label", "set/images/1.png": b"png"})
    assert receive_upload(workspace, "set.zip", content).name == "labels.csv"


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:/evil.png"])
def test_an_archive_that_leaves_its_folder_is_refused(workspace, name):
    with pytest.raises(InputError, match="outside its folder"):
        receive_upload(workspace, "evil.zip", zipped({name: b"evil", "a/1.png": b"good"}))
    assert left_over(workspace) == []


def test_a_link_in_an_archive_is_refused(workspace):
    with pytest.raises(InputError, match="is a link"):
        receive_upload(workspace, "links.zip", zipped({"a/1.png": b"1"}, entry="/etc/passwd"))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and no more", zipped({}).getvalue()])
def test_an_archive_that_is_none_is_refused_and_leaves_nothing(workspace, data):
    with pytest.raises(InputError, match="archive"):
        receive_upload(workspace, "data.zip", io.BytesIO(data))
    assert left_over(workspace) == []


def test_a_bomb_is_refused_before_it_is_unpacked(workspace):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/1.png", b"0")
        archive.filelist[0].file_size = 5 * 2**30  # which its list of files claims
    with pytest.raises(InputError, match=r"5\.0 GB, expected at most"):
        receive_upload(workspace, "bomb.zip", io.BytesIO(buffer.getvalue()))
    assert left_over(workspace) == []


def test_the_sweep_takes_what_is_old_and_used_by_nobody(workspace):
    forgotten, used, fresh = (
        receive_upload(workspace, f"{name}.csv", io.BytesIO(b"x")) for name in "abc"
    )
    long_ago = time.time() - 601
    for path in (forgotten, used):
        os.utime(path.parent, (long_ago, long_ago))
    assert sweep_uploads(workspace, [used]) == [forgotten.parent]
    assert [path.exists() for path in (forgotten, used, fresh)] == [False, True, True]


def test_a_path_of_the_persons_own_is_never_removed(workspace, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("mine")
    remove_upload(workspace, own)
    remove_upload(workspace, workspace.root / "uploads")
    assert own.exists()
    assert upload_folder(workspace, own) is None


def test_an_upload_goes_ten_minutes_after_its_page_is_gone_and_never_before(workspace):
    path = receive_upload(workspace, "a.csv", io.BytesIO(b"x"))
    hold = hold_upload(workspace, path)
    long_ago = time.time() - 601
    os.utime(path.parent, (long_ago, long_ago))
    assert sweep_uploads(workspace, []) == []
    del hold  # the session with its state is gone
    assert sweep_uploads(workspace, []) == [path.parent]
    assert left_over(workspace) == []


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("coco-files/annotations.json", "coco"),
        ("birds-files/annotations/instances_train2017.json", "birds"),
        ("birds-files", "birds"),
        ("export-files/result.json", "export"),
        ("birds-files/songs/labels.csv", "songs"),
        ("birds-files/songs.csv", "songs.csv"),
        ("train.csv", "train.csv"),
    ],
)
def test_an_archive_gives_its_name_to_files_that_are_called_like_any(workspace, inside, expected):
    path = workspace.root / "uploads" / "0a1b" / inside
    path.parent.mkdir(parents=True)
    path.mkdir() if not path.suffix else path.touch()
    assert name_of_data(workspace, path) == expected


def test_a_file_of_the_persons_own_is_called_after_its_folder_but_not_after_the_person(
    workspace, monkeypatch
):
    home = Path("/home/ada")
    monkeypatch.setattr(Path, "home", lambda: home)
    assert name_of_data(workspace, home / "pets" / "annotations" / "default.json") == "pets"
    assert name_of_data(workspace, home / "pets" / "cats.csv") == "cats.csv"
    assert name_of_data(workspace, home / "Downloads" / "train.csv") == "train.csv"
    assert name_of_data(workspace, home / "metadata.jsonl") == "metadata.jsonl"


def backup_like() -> io.BytesIO:
    manifest = b'{\n "format": "tracin-project",\n "version": 1}'
    return zipped({"rows/project.jsonl": b"[]\n", "manifest.json": manifest})


@pytest.mark.parametrize("name", ["pets.zip", "pets", "pets.tar.gz"])
@pytest.mark.parametrize("unpack", [True, False])
def test_a_backup_stays_as_it_is_wherever_it_is_uploaded(workspace, name, unpack):
    content = backup_like()
    path = receive_upload(workspace, name, content, unpack=unpack)
    assert path.read_bytes() == content.getvalue()


def test_an_archive_of_data_is_not_unpacked_where_a_backup_is_expected(workspace):
    path = receive_upload(workspace, "a.zip", zipped({"cat/1.png": b"1"}), unpack=False)
    assert zipfile.is_zipfile(path)
