"""Fixtures shared by all tests: the two demo projects, built once and copied cheaply."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from relabel.db.engine import open_database
from relabel.workspace import REPOSITORY_ROOT, Workspace, resolve_workspace
from tests.demo_cache import digest_sources, keep_copy, take_copy
from tests.houses import build_houses

# A developer's own settings, which must not reach the tests.
_SETTINGS = ("TRACIN_WORKSPACE", "TRACIN_DATABASE_URL", "TRACIN_REVIEWER")


# How long an example takes says how busy the machine is, and not whether the code is right.
hypothesis.settings.register_profile("any-speed", deadline=None)
hypothesis.settings.load_profile("any-speed")


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores out between the workers of pytest-xdist, and what these start.

    Threads that outnumber the cores wait for each other, and busily: with two workers on two
    cores the tests of the influence took three times the processor time.
    """
    if workers := config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes long first: no worker waits at the end for a long test of another one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.get_closest_marker("browser") is None, item.path not in slow))


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Hide them before anything is built: the demos would enter a developer's database."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _SETTINGS:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def built_demos(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A workspace with both demos, built by the real command; never written by a test."""
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist every worker has a folder of its own inside the run's.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = shared / "demos"
    with FileLock(shared / "demos.lock"):
        if not (root / "complete").exists():
            _provide_demos(root, pytestconfig)
            (root / "complete").touch()
    return root


def _provide_demos(root: Path, config: pytest.Config) -> None:
    # `pytest --cache-clear` and `-p no:cacheprovider` do without what an earlier run has kept.
    kept = getattr(config, "cache", None)
    cache = kept.mkdir("demos") if kept else None
    digest = digest_sources()
    if cache and take_copy(cache, digest, root):
        return
    subprocess.run(
        [sys.executable, "-m", "relabel", "--workspace", str(root), "demo", "all"],
        cwd=REPOSITORY_ROOT,
        check=True,
        capture_output=True,
    )
    if cache:
        keep_copy(cache, digest, root)


@pytest.fixture(scope="session")
def built_houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a table of houses and their prices; never written by a test."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = shared / "houses"
    with FileLock(shared / "houses.lock"):
        if not (root / "complete").exists():
            root.mkdir()
            build_houses(root)
            (root / "complete").touch()
    return root


@pytest.fixture
def workspace(built_demos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of the test's own: its own database, the demos' files behind a link."""
    root = copy_workspace(built_demos, tmp_path / "workspace")
    monkeypatch.setenv("TRACIN_WORKSPACE", str(root))
    monkeypatch.delenv("TRACIN_DATABASE_URL", raising=False)
    return resolve_workspace()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "tracin.db"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def place(tmp_path: Path, empty_database: Path) -> Workspace:
    """An empty workspace of the test's own, with a database that is migrated already."""
    place = resolve_workspace(tmp_path / "work")
    place.prepare()
    shutil.copy(empty_database, place.root / "tracin.db")
    return place


def copy_workspace(source: Path, target: Path) -> Path:
    """Copy the database, closed and checkpointed by its last user, and link the files."""
    target.mkdir(parents=True)
    for part in source.glob("tracin.db*"):
        shutil.copy2(part, target / part.name)
    (target / "projects").symlink_to(source / "projects", target_is_directory=True)
    return target


@pytest.fixture(autouse=True)
def _no_leftover_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a command of another test has set out of this one."""
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
