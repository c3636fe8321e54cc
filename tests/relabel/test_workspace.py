"""Where a workspace lies: in a checkout, of an installed copy, and where data is from before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def list_projects(site: Path, folder: Path, *words: str, **environment: str):
    """Run the installed copy's command in a folder, with a home of its own."""
    own = {"PYTHONPATH": str(site), "HOME": str(folder / "home")}
    own |= {"XDG_DATA_HOME": str(folder / "share")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACIN_")}
    return subprocess.run(
        [sys.executable, "-m", "relabel", "projects", *words],
        cwd=folder,
        env=kept | own | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_checkout_keeps_its_data_in_it(monkeypatch):
    monkeypatch.delenv("TRACIN_WORKSPACE", raising=False)
    assert REPOSITORY_ROOT / "data" / "workspace" == DEFAULT_WORKSPACE
    assert resolve_workspace().root == DEFAULT_WORKSPACE.resolve()
    assert describe_other_workspaces() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the folder has another name there")
def test_an_installed_copy_keeps_its_data_among_the_users(site, tmp_path):
    done = list_projects(site, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "share" / "tracin-relabel" / "workspace" / "tracin.db").is_file()
    assert not (site / "data").exists()
    shown = list_projects(site, tmp_path, "--help").stdout
    assert str(tmp_path / "share" / "tracin-relabel") in "".join(shown.split())


def test_data_in_a_former_place_is_found_and_said(site, tmp_path):
    here = tmp_path / "data" / "workspace"
    inside = site / "data" / "workspace"
    for place in (here, inside):
        place.mkdir(parents=True)
        assert list_projects(site, tmp_path, "--workspace", str(place)).returncode == 0
    try:
        for _ in range(2):  # also when the new place holds a database itself
            done = list_projects(site, tmp_path)
            assert done.returncode == 0
            for place in (here, inside):
                assert f"{place} holds projects too" in done.stderr
                assert f"--workspace {place}" in done.stderr
            assert "TRACIN_WORKSPACE" in done.stderr
        assert list_projects(site, tmp_path, "--workspace", str(here)).stderr == ""
        assert list_projects(site, tmp_path, TRACIN_WORKSPACE=str(inside)).stderr == ""
    finally:
        shutil.rmtree(site / "data")


def test_a_former_place_without_a_database_is_not_mentioned(site, tmp_path):
    (tmp_path / "data" / "workspace").mkdir(parents=True)
    assert list_projects(site, tmp_path).stderr == ""


def test_a_stray_file_beside_an_installed_copy_makes_it_no_checkout(tmp_path):
    package = tmp_path / "relabel"
    package.mkdir()
    assert not is_checkout(package)
    (tmp_path / "pyproject.toml").write_text("")
    assert is_checkout(package)
    (package / "_app").mkdir()
    assert not is_checkout(package)
