"""What is no regular file is never opened: reading it would wait for ever, or never end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relabel.errors import DatabaseError, WorkspaceError
from relabel.files import open_export
from tracin_core.errors import CheckpointError, ConfigurationError, InputError, TracInError
from tracin_core.files import check_ordinary, describe_special, expand_path


@pytest.fixture(params=["pipe", "device", "link to a pipe"])
def special(request, tmp_path) -> Path:
    path = tmp_path / "special.pt"
    if request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "pipe":
        os.mkfifo(path)
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
    return path


def test_files_and_folders_and_what_is_missing_are_ordinary(tmp_path):
    (tmp_path / "file").write_text("text")
    for path in (tmp_path, tmp_path / "file", tmp_path / "missing", Path("/dev/shm/x")):  # noqa: S108
        assert describe_special(path) == ""
        check_ordinary(path, "a file")


def test_a_special_file_is_named_with_the_way_out(special):
    with pytest.raises(InputError, match=r"a (named pipe|device).*Expected a table. Copy"):
        check_ordinary(special, "a table")


def test_a_checkpoint_that_is_none_is_refused_at_once(special, tmp_path):
    from tracin_core.checkpoints import find_checkpoints
    from tracin_core.checkpoints.formats import read_content

    for read in (read_content, find_checkpoints):
        with pytest.raises(CheckpointError, match="which is not read"):
            read(special)
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        find_checkpoints(tmp_path)


def test_a_models_file_that_is_none_is_refused_at_once(special):
    from relabel.models.user.config import read_source

    with pytest.raises(ConfigurationError, match="which is not read"):
        read_source(special)


def test_a_database_that_is_none_is_refused_at_once(special):
    from relabel.db.engine import open_database

    with pytest.raises(DatabaseError, match="which is not read"):
        open_database(f"sqlite:///{special}")


def test_an_export_never_takes_the_place_of_a_device(special):
    with pytest.raises(WorkspaceError, match="would be replaced"), open_export(special):
        raise AssertionError("it must not be opened")
    assert describe_special(special)


@pytest.mark.parametrize("command", [["import", "p"], ["restore"]])
def test_the_terminal_says_it(special, command, capsys):
    from relabel.cli import main

    workspace = special.parent / "workspace"
    assert main([*command, str(special), "--workspace", str(workspace)]) == 2
    assert "which is not read" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["~nobody-has-this-account/x", "/a\0b", f"/{'x' * 256}"])
def test_a_path_that_cannot_be_is_said_and_nothing_happens(path, capsys):
    from relabel.cli import main

    with pytest.raises(TracInError):
        expand_path(path)
    assert main(["projects", "--workspace", path]) == 2
    assert "The path" in capsys.readouterr().err
