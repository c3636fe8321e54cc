from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from relabel.errors import WorkspaceError
from relabel.training.storage import load_json, load_tensors, save_json, save_tensors
from tracin_core.errors import CheckpointError


def test_what_is_saved_is_read_back(tmp_path):
    path = tmp_path / "folder" / "weights.pt"
    save_tensors(path, {"weights": torch.arange(3.0), "step": 4})
    content = load_tensors(path)
    assert torch.equal(content["weights"], torch.arange(3.0))
    assert content["step"] == 4
    assert [file.name for file in path.parent.iterdir()] == ["weights.pt"]


class Attack:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_file_with_code_is_refused_and_the_code_not_run(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": Attack()}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(path)
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tensors(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_a_damaged_file_is_reported_with_what_to_do(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="train again"):
        load_tensors(path)
    with pytest.raises(CheckpointError, match="train again"):
        load_json(path)


def test_weights_that_are_no_dictionary_are_refused(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="holds a Tensor"):
        load_tensors(tmp_path / "weights.pt")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    save_json(path, {"a": 1})
    with pytest.raises(TypeError):
        save_json(path, {"a": object()})
    assert load_json(path) == {"a": 1}


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        save_json(tmp_path / "taken" / "result.json", {})


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_reported_and_leaves_the_old_file(tmp_path):
    # A limit on file sizes fails the write at the same place as a full disk does.
    code = """
import resource, signal, sys, torch
from pathlib import Path
from relabel.errors import WorkspaceError
from relabel.training.storage import load_tensors, save_tensors
path = Path(sys.argv[1]) / "weights.pt"
save_tensors(path, {"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_tensors(path, {"weights": torch.zeros(1_000_000)})
except WorkspaceError as error:
    print(error)
print(load_tensors(path), [file.name for file in path.parent.iterdir()])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "weights.pt cannot be written: " in done.stdout, done.stderr
    assert "Free some space" in done.stdout
    assert "{'step': 1} ['weights.pt']" in done.stdout


def test_a_full_disk_is_called_by_its_name(tmp_path, monkeypatch):
    def run_out(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", run_out)
    with pytest.raises(WorkspaceError, match=r"the disk is full\. Free some space"):
        save_json(tmp_path / "result.json", {})
    assert list(tmp_path.iterdir()) == []
