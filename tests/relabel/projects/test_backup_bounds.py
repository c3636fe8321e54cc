"""Backups that are made to harm: bounded by what they claim; and no index comes out of one."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from relabel.db.engine import open_database
from relabel.projects import backup as backup_module
from relabel.projects.backup import GROUPS, backup_project, in_chunks, load_rows
from relabel.projects.backup_file import FILES, MANIFEST, FileEntry, open_backup
from relabel.projects.restore import read_manifest, restore_project, summarise_backup_apart
from relabel.workspace import Workspace
from tests.relabel.db.builders import build_scene
from tracin_core.errors import InputError


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path, f"sqlite:///{tmp_path / 'tracin.db'}")


@pytest.fixture
def backup(workspace, tmp_path) -> Path:
    """A sound backup of a project with a run that has files and an index."""
    engine = open_database(workspace.database_url)
    scene = build_scene(engine)
    run = workspace.project_folder(scene.project.slug) / scene.run.folder
    (run / "index-all" / "bands").mkdir(parents=True)
    (run / "index-all" / "index.json").write_text("{}")
    (run / "index-all" / "bands" / "band-000000000.ann").write_bytes(b"\xff" * 100)
    np.save(run / "vectors-all-train.npy", np.zeros((3, 2), np.float32))
    backup_project(engine, workspace, scene.project.slug, tmp_path / "sound.zip")
    engine.dispose()
    return tmp_path / "sound.zip"


def rewrite(backup: Path, path: Path, *, manifest: bytes | None = None, **files: bytes) -> Path:
    """Copy a backup with another manifest, or with more files in it that are listed."""
    with zipfile.ZipFile(backup) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        listed = json.loads(old.read(MANIFEST))
        for info in old.infolist():
            if info.filename != MANIFEST:
                new.writestr(info.filename, old.read(info))
        for name, content in files.items():
            new.writestr(name, content)
            listed["entries"][name] = FileEntry(len(content), digest(content)).__dict__
        new.writestr(MANIFEST, json.dumps(listed).encode() if manifest is None else manifest)
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_list_that_its_files_do_not_explain_is_refused_before_it_is_read(backup, tmp_path):
    path = rewrite(backup, tmp_path / "long.zip", manifest=b"[" + b"[]," * 30_000_000 + b"[]]")
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"its list of \d+ files has 90,000,004 bytes, more than"):
        read_manifest(path)


def test_the_pages_look_into_a_backup_in_another_process(backup, tmp_path):
    found, manifest = summarise_backup_apart(backup), read_manifest(backup)
    assert (found.slug, found.title, found.created_at) == (
        *(manifest.slug, manifest.title, manifest.created_at),
    )
    assert (found.counts, found.total_bytes) == (manifest.counts, manifest.total_bytes)
    path = rewrite(backup, tmp_path / "long.zip", manifest=b"[" + b"[]," * 3_000_000 + b"[]]")
    with pytest.raises(InputError, match="its list of"):
        summarise_backup_apart(path)


def test_a_list_of_a_great_many_values_is_refused_before_it_is_decoded(backup, tmp_path):
    path = rewrite(backup, tmp_path / "many.zip", manifest=b"[" + b"[]," * 300_000 + b"[]]")
    with pytest.raises(InputError, match=r"its list of files holds 600,002 values, more than"):
        read_manifest(path)


def test_commas_in_texts_are_no_values(backup, tmp_path):
    with zipfile.ZipFile(backup) as archive:
        listed = json.loads(archive.read(MANIFEST))
    listed["title"] = ',[{"\\' * 20_000
    path = rewrite(backup, tmp_path / "commas.zip", manifest=json.dumps(listed).encode())
    assert read_manifest(path).title == listed["title"]


def test_a_row_of_a_great_many_values_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(backup_module, "MOST_VALUES", 1000)
    group = next(one for one in GROUPS if one.name == "project")
    header = json.dumps([column.name for column in group.table.columns])
    for line, words in (
        (f"[{'[],' * 2000}[]]", "row 1 of its table project holds 4,002 values"),
        (f'["{"x" * 3000}', "no JSON"),
    ):
        with pytest.raises(InputError, match=words):
            list(load_rows(group, io.BytesIO(f"{header}\n{line}\n".encode())))


def test_long_rows_are_entered_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(backup_module, "LARGEST_CHUNK", 100)
    rows = [{"text": "x" * 60, "n": n} for n in range(5)]
    assert [len(chunk) for chunk in in_chunks(rows, 4)] == [2, 2, 1]
    assert [len(chunk) for chunk in in_chunks(({"n": n} for n in range(5)), 4)] == [4, 1]
    assert list(in_chunks([], 4)) == []


def test_indexes_are_neither_backed_up_nor_restored(backup, workspace, tmp_path):
    with open_backup(backup) as (_, manifest):
        assert any("vectors-all" in name for name in manifest.entries)
        assert not any("index-all" in name for name in manifest.entries)
        run = next(name for name in manifest.entries if "vectors-all" in name).split("/")[2]
    # As older versions wrote them, or as somebody put it there.
    inside = f"{FILES}/runs/{run}/index-all/bands/band-000000000.ann"
    path = rewrite(backup, tmp_path / "old.zip", **{inside: b"\xff" * 100})
    engine = open_database(workspace.database_url)
    restore_project(engine, workspace, path, slug="again")
    engine.dispose()
    restored = workspace.project_folder("again") / "runs" / run
    assert [one.name for one in sorted(restored.iterdir())] == ["vectors-all-train.npy"]


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "backup.zip"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="which is not read"):
        read_manifest(path)


def test_a_damaged_list_of_files_is_said(backup, tmp_path):
    content = bytearray(backup.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 8 : at + 10] = b"\0\x08"  # names are UTF-8, it says
    content[at + 46] = 0xFF
    path = tmp_path / "bad.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="The backup is damaged"):
        read_manifest(path)
    shutil.copy(backup, path)
    assert read_manifest(path).slug


def entries(content: bytes) -> list[int]:
    """Return where the entries of a zip archive's list of files begin."""
    found, at = [], -1
    while (at := content.find(b"PK\1\2", at + 1)) >= 0:
        found.append(at)
    return found


def point_before_the_file(content: bytearray) -> None:
    for entry in entries(content):
        struct.pack_into("<I", content, entry + 42, 0)
    end = content.rindex(b"PK\5\6")
    struct.pack_into("<I", content, end + 16, struct.unpack_from("<I", content, end + 16)[0] + 99)


def point_beyond_all_files(content: bytearray) -> None:
    entry = entries(content)[-1]
    struct.pack_into("<I", content, entry + 42, 2**32 - 1)
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    name_length = struct.unpack_from("<H", content, entry + 28)[0]
    struct.pack_into("<H", content, entry + 30, len(extra))
    content[entry + 46 + name_length : entry + 46 + name_length] = extra
    end = content.rindex(b"PK\5\6")
    struct.pack_into("<I", content, end + 12, struct.unpack_from("<I", content, end + 12)[0] + 20)


def claim_packing(method: int):
    def claim(content: bytearray) -> None:
        for entry in entries(content):
            place = struct.unpack_from("<I", content, entry + 42)[0]
            struct.pack_into("<H", content, entry + 10, method)
            struct.pack_into("<H", content, place + 8, method)

    return claim


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(point_before_the_file, id="before the file"),
        pytest.param(point_beyond_all_files, id="beyond all files"),
        pytest.param(claim_packing(zipfile.ZIP_BZIP2), id="bzip2"),  # an OSError without a number
        pytest.param(claim_packing(zipfile.ZIP_LZMA), id="LZMA"),
    ],
)
def test_whatever_the_list_of_files_claims_is_said(backup, tmp_path, change):
    content = bytearray(backup.read_bytes())
    change(content)
    path = tmp_path / "bad.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="The backup is damaged"):
        read_manifest(path)


def test_a_place_that_the_system_does_not_know_is_damage(backup):
    told = pytest.raises(InputError, match="damaged: Invalid argument")
    with told, open_backup(backup), backup.open("rb") as file:
        os.lseek(file.fileno(), -1, os.SEEK_SET)


@pytest.mark.parametrize("reason", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
def test_a_failing_disk_is_no_damaged_backup(backup, reason):
    with pytest.raises(OSError, match=os.strerror(reason)), open_backup(backup):
        raise OSError(reason, os.strerror(reason))
