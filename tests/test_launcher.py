"""What the terminal says when the app cannot start: one message with what to do, no stack trace."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app import check_workspace, main, remove_leftovers
from relabel.db.engine import open_database, writing
from relabel.db.jobs import claim_job, create_job, get_job
from relabel.db.schema import JobRow
from relabel.projects.delete import mark_unfinished
from relabel.workspace import (
    DATABASE_VARIABLE,
    REPOSITORY_ROOT,
    WORKSPACE_VARIABLE,
    resolve_workspace,
)
from scripts.serving import free_port

# All that scripts/install.sh calls before it asks for a compiler.
_TOOLS = ("bash", "dirname", "env")


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the launcher set its variables, and take them back afterwards."""
    monkeypatch.setenv(WORKSPACE_VARIABLE, "")
    monkeypatch.setenv(DATABASE_VARIABLE, "")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Start the app, expect it to give up, and return what it says."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.out == ""
    return said.err


def test_a_port_in_use_is_explained_with_another_one(
    tmp_path: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
):
    said = refuse(capsys, "--port", str(taken_port), "--workspace", str(tmp_path / "new"))
    assert f"Port {taken_port} on 127.0.0.1 cannot be used" in said
    assert "--port" in said
    assert not (tmp_path / "new").exists()


def test_a_database_from_a_newer_version_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "tracin.db"
    open_database(f"sqlite:///{file}").dispose()
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    connection.close()
    before = file.read_bytes()
    said = refuse(capsys, "--port", str(free_port()), "--workspace", str(tmp_path))
    assert "newer version" in said
    assert "Update the program" in said
    assert file.read_bytes() == before


def test_a_damaged_database_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "tracin.db"
    file.write_bytes(b"no database " * 1000)
    said = refuse(capsys, "--port", str(free_port()), "--workspace", str(tmp_path))
    assert "is damaged" in said
    assert "backup" in said
    assert file.read_bytes() == b"no database " * 1000


def test_a_workspace_that_is_a_file_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    said = refuse(capsys, "--port", str(free_port()), "--workspace", str(file))
    assert "cannot be written" in said
    assert "--workspace" in said
    assert file.read_text() == "mine"


def test_a_database_of_another_kind_is_refused_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    address = "mysql://user:secret@127.0.0.1/name"
    said = refuse(
        capsys, "--port", str(free_port()), "--workspace", str(tmp_path), "--database", address
    )
    assert "Expected sqlite or postgresql" in said
    assert "secret" not in said


def test_a_start_closes_the_books_on_dead_jobs_and_finishes_deletions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path))
    workspace = resolve_workspace()
    engine = open_database(workspace.database_url)
    job = claim_job(engine, create_job(engine, "mine", "train").id)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with writing(engine) as connection:
        connection.execute(update(JobRow).values(pid=ended.pid))
    gone = workspace.project_folder("gone")
    gone.mkdir(parents=True)
    mark_unfinished(workspace, gone)
    check_workspace()
    remove_leftovers()
    assert get_job(engine, job.id).state == "failed"
    assert not gone.exists()
    engine.dispose()


def test_the_installation_asks_for_a_compiler_before_it_downloads(tmp_path: Path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in _TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    copy = tmp_path / "copy"
    (copy / "scripts").mkdir(parents=True)
    shutil.copy(REPOSITORY_ROOT / "scripts" / "install.sh", copy / "scripts")
    done = subprocess.run(
        [copy / "scripts" / "install.sh", "requirements.lock", sys.executable],
        env=os.environ | {"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "No C++ compiler was found" in done.stderr
    assert "apt-get install" in done.stderr
    assert not (copy / ".venv").exists()
