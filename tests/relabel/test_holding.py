"""What killed processes have left is found by its locks, and what is in use never is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from relabel.files import open_export
from relabel.importers.detect import open_source
from relabel.importers.options import ImportOptions
from relabel.locks import (
    HOLD,
    FolderHold,
    make_unpacking_folder,
    remove_abandoned_folder,
    remove_abandoned_temporaries,
    remove_abandoned_unpackings,
)
from relabel.workspace import REPOSITORY_ROOT
from tracin_core.errors import InputError
from tracin_core.files import atomic_file

DIE_WRITING = """
import os, signal, sys
from pathlib import Path
from relabel.files import open_export
with open_export(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
DIE_IMPORTING = """
import os, signal, sys
from pathlib import Path
from relabel.importers.options import ImportOptions
from relabel.importers.detect import open_source
source = open_source(Path(sys.argv[1]), ImportOptions())
os.kill(os.getpid(), signal.SIGKILL)
"""


def die(code: str, *arguments: object, **environment: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY_ROOT,
        env=os.environ | environment,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path):
    die(DIE_WRITING, tmp_path / "old.zip")
    (left,) = tmp_path.iterdir()
    (tmp_path / ".someone-elses.tmp").touch()
    time.sleep(0.3)
    with open_export(tmp_path / "new.zip") as file:
        file.write(b"whole")
        assert remove_abandoned_temporaries(tmp_path) == [left]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".someone-elses.tmp", "new.zip"]
    assert (tmp_path / "new.zip").read_bytes() == b"whole"


def test_a_folder_goes_when_its_hold_does(tmp_path):
    folder = tmp_path / "used"
    folder.mkdir()
    hold = FolderHold(folder)
    time.sleep(0.3)
    assert not remove_abandoned_folder(folder)
    hold.release()
    assert not remove_abandoned_folder(folder, older_than=60)
    assert remove_abandoned_folder(folder)
    assert not folder.exists()


def test_a_folder_that_was_never_held_has_a_day(tmp_path):
    folder = tmp_path / "making"
    folder.mkdir()
    os.utime(folder, (0, time.time() - 80_000))
    assert not remove_abandoned_folder(folder)
    os.utime(folder, (0, time.time() - 90_000))
    assert remove_abandoned_folder(folder)


def test_links_are_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / HOLD).touch()
    link = tmp_path / "link"
    link.symlink_to(kept, target_is_directory=True)
    time.sleep(0.3)
    assert not remove_abandoned_folder(link)
    assert kept.is_dir()


def test_what_a_killed_import_unpacked_is_removed_by_the_next(tmp_path, monkeypatch):
    packed = tmp_path / "rows.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        rows = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(20))
        archive.writestr("rows.csv", "text,label\n" + rows)
    room = tmp_path / "room"
    room.mkdir()
    die(DIE_IMPORTING, packed, TMPDIR=str(room))
    (left,) = room.iterdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    time.sleep(0.3)
    source = open_source(packed, ImportOptions())
    assert not left.exists()
    time.sleep(0.3)
    assert remove_abandoned_unpackings() == []  # the one at work stays
    assert len(list(room.iterdir())) == 1
    del source
    assert list(room.iterdir()) == []


def test_a_backup_is_no_data_and_the_way_back_is_said(tmp_path):
    path = tmp_path / "pets"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows/project.jsonl", "[]\n")
        archive.writestr("manifest.json", '{\n "format": "tracin-project",\n "version": 1}')
    with pytest.raises(InputError, match=f"backup of a project.*restore {path}"):
        open_source(path, ImportOptions())


def test_a_failed_write_names_its_file(tmp_path):
    path = tmp_path / "run.json"
    with pytest.raises(OSError, match="No space left") as caught, atomic_file(path):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_an_unpacking_folder_is_made_and_held(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, hold = make_unpacking_folder()
    assert folder.parent == Path(tmp_path)
    assert (folder / HOLD).is_file()
    hold.release()
