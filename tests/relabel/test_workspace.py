"""Where a workspace lies: in a checkout, of an installed copy, and where data is from before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from relabel.workspace import (
    DEFAULT_WORKSPACE,
    REPOSITORY_ROOT,
    describe_other_workspaces,
    is_checkout,
    resolve_workspace,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two packages alone, as an environment has them."""
    site = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("tracin_core", "relabel"):
        shutil.copytree(REPOSITORY_ROOT / package, site / package, ignore=ignored)
    return site


# One interpreter imports the copy; each call is a fork of it with streams of its own.
LIST_EACH = """
import json, os, sys, tempfile
from relabel.cli import main
import alembic.command, relabel.cli.projects, relabel.db.engine

told = []
for words, environment in json.loads(sys.argv[1]):
    streams = [tempfile.TemporaryFile() for _ in range(2)]
    pid = os.fork()
    if not pid:
        os.environ.update(environment)
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream.fileno(), number)
        sys.exit(main(["projects", *words]))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read().decode())
    told.append([code, *texts])
print(json.dumps(told))
"""


class Listed(NamedTuple):
    """What one call of the command has said."""

    returncode: int
    stdout: str
    stderr: str


def list_projects(site: Path, folder: Path, *calls: tuple[list[str], dict[str, str]]):
    """Run the installed copy's command in a folder, with a home of its own.

    Args:
        site: Where the copy is.
        folder: The working directory.
        calls: For each call its words and what the environment has besides.
    """
    own = {"PYTHONPATH": str(site), "HOME": str(folder / "home")}
    own |= {"XDG_DATA_HOME": str(folder / "share")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACIN_")}
    done = subprocess.run(
        [sys.executable, "-c", LIST_EACH, json.dumps(calls)],
        cwd=folder,
        env=kept | own,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [Listed(*one) for one in json.loads(done.stdout)]


def test_a_checkout_keeps_its_data_in_it(monkeypatch):
    monkeypatch.delenv("TRACIN_WORKSPACE", raising=False)
    assert REPOSITORY_ROOT / "data" / "workspace" == DEFAULT_WORKSPACE
    assert resolve_workspace().root == DEFAULT_WORKSPACE.resolve()
    assert describe_other_workspaces() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the folder has another name there")
def test_an_installed_copy_keeps_its_data_among_the_users(site, tmp_path):
    done, helped = list_projects(site, tmp_path, ([], {}), (["--help"], {}))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "share" / "tracin-relabel" / "workspace" / "tracin.db").is_file()
    assert not (site / "data").exists()
    assert str(tmp_path / "share" / "tracin-relabel") in "".join(helped.stdout.split())


def test_data_in_a_former_place_is_found_and_said(site, tmp_path, empty_database):
    here = tmp_path / "data" / "workspace"
    inside = site / "data" / "workspace"
    for place in (here, inside):
        place.mkdir(parents=True)
        shutil.copy(empty_database, place / "tracin.db")
    try:
        first, again, chosen, set_apart = list_projects(
            site,
            tmp_path,
            ([], {}),
            ([], {}),  # the new place holds a database itself now
            (["--workspace", str(here)], {}),
            ([], {"TRACIN_WORKSPACE": str(inside)}),
        )
        for done in (first, again):
            assert done.returncode == 0
            for place in (here, inside):
                assert f"{place} holds projects too" in done.stderr
                assert f"--workspace {place}" in done.stderr
            assert "TRACIN_WORKSPACE" in done.stderr
        for done in (chosen, set_apart):
            assert (done.returncode, done.stderr) == (0, "")
    finally:
        shutil.rmtree(site / "data")


def test_a_former_place_without_a_database_is_not_mentioned(site, tmp_path):
    (tmp_path / "data" / "workspace").mkdir(parents=True)
    (done,) = list_projects(site, tmp_path, ([], {}))
    assert done.stderr == ""


def test_a_stray_file_beside_an_installed_copy_makes_it_no_checkout(tmp_path):
    package = tmp_path / "relabel"
    package.mkdir()
    assert not is_checkout(package)
    (tmp_path / "pyproject.toml").write_text("")
    assert is_checkout(package)
    (package / "_app").mkdir()
    assert not is_checkout(package)
