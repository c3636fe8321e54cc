"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from relabel.errors import WorkspaceError
from relabel.files import explain_disk_errors, write_array
from tracin_core.files import atomic_file, atomic_folder, write_text


def write_half_a_file(path):
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def write_half_a_folder(path):
    with atomic_folder(path) as folder:
        (folder / "b.png").write_bytes(b"b")
        raise ZeroDivisionError


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half_a_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with atomic_folder(tmp_path / "media") as folder:
        (folder / "a.png").write_bytes(b"a")
    with pytest.raises(ZeroDivisionError):
        write_half_a_folder(tmp_path / "media")
    assert [entry.name for entry in tmp_path.rglob("*.png")] == ["a.png"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["media"]


def test_a_folder_half_made_by_a_killed_process_is_made_again(tmp_path):
    (tmp_path / ".media.new").mkdir()
    (tmp_path / ".media.new" / "stale.png").write_bytes(b"stale")
    with atomic_folder(tmp_path / "media") as folder:
        (folder / "a.png").write_bytes(b"a")
    assert [entry.name for entry in (tmp_path / "media").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "Mend the permissions"),
        (errno.EROFS, "read-only"),
    ],
)
def test_disk_errors_say_what_to_do(tmp_path, number, advice):
    with (
        pytest.raises(WorkspaceError, match=advice) as caught,
        explain_disk_errors(tmp_path),
    ):
        raise OSError(number, "reason", str(tmp_path / "run.json"))
    assert "run.json" in str(caught.value)
    assert "--workspace" in str(caught.value)


def test_numpys_words_for_a_full_disk_are_understood(tmp_path):
    with pytest.raises(WorkspaceError, match="disk is full"), explain_disk_errors(tmp_path):
        raise OSError("Not enough free space to write 29910400 bytes after offset 128")


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), explain_disk_errors(tmp_path):
        (tmp_path / "missing").read_bytes()


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3), (3, 2)])
def test_an_array_is_written_as_numpy_writes_it(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape[::-1]).T
    with (tmp_path / "a.npy").open("wb") as file:
        write_array(file, array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
