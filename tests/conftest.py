"""Fixtures shared by all tests: the two demo projects, built once and copied cheaply."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, groupby, islice
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from relabel.db.engine import open_database
from relabel.workspace import Workspace, resolve_workspace
from tests.compiled_statements import share_compiled_statements
from tests.demo_cache import find_cache, provide_demos
from tests.houses import build_houses
from tests.preloaded import Preloaded, preload, usual_programs

# A developer's own settings, which must not reach the tests.
_SETTINGS = ("TRACIN_WORKSPACE", "TRACIN_DATABASE_URL", "TRACIN_REVIEWER")
# Tells the workers of pytest-xdist, and what they start, where programs are forked.
_FORKED_AT = "RELABEL_TESTS_FORKED_AT"
_WORKER = os.environ.get("PYTEST_XDIST_WORKER")
_MAIN = sys.modules["__main__"]

# How long an example takes says how busy the machine is, and not whether the code is right.
hypothesis.settings.register_profile("any-speed", deadline=None)
hypothesis.settings.load_profile("any-speed")


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores out between the workers of pytest-xdist, and what these start.

    Threads that outnumber the cores wait for each other, and busily: with two workers on two
    cores the tests of the influence took three times the processor time. One process imports the
    libraries for the programs that all of them start.
    """
    workers = config.getoption("numprocesses", None)
    if workers and not _WORKER:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
        running = ExitStack()
        os.environ[_FORKED_AT] = running.enter_context(preload()).address
        config.add_cleanup(running.close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes long first: no worker waits at the end for a long test of another one.

    What needs the demos comes after what does not, in both halves: they are being built then. Each
    worker begins with its share of all tests in their order, so each share begins so.
    """
    browser = {item.path for item in items if item.get_closest_marker("browser")}
    slow = {item.path for item in items if item.get_closest_marker("slow")} | browser
    waiting = {item.path for item in items if _needs_demos(item)}
    items.sort(
        key=lambda item: (
            item.path not in slow,
            item.path in waiting,
            (item.path in browser) != (item.path in waiting),
        )
    )
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = _deal(items, sum(item.path in slow for item in items), shares)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage while tests are collected, and leave out what is there in the end.

    What was imported stays: 850,000 objects, which each search looked through for half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_runtest_setup() -> None:
    """Give programs that are spawned the module back that Streamlit puts its pages in place of."""
    sys.modules["__main__"] = _MAIN


def _deal(items: Sequence[pytest.Item], num_slow: int, shares: int) -> list[pytest.Item]:
    """Return tests so that every share, one after the other and of one size, begins with slow ones.

    Args:
        items: The slow tests first.
        num_slow: How many they are.
        shares: How many workers there are.
    """
    modules = [list(group) for _, group in groupby(items[:num_slow], lambda item: item.path)]
    rest = iter(items[num_slow:])
    dealt: list[pytest.Item] = []
    for share in range(shares):
        # Every so many modules, not a third of them: neighbours take about as long.
        dealt += chain.from_iterable(modules[share::shares])
        dealt += islice(rest, max(0, (share + 1) * len(items) // shares - len(dealt)))
    return [*dealt, *rest]


def _needs_demos(item: pytest.Item) -> bool:
    return "built_demos" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Hide them before anything is built: the demos would enter a developer's database."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _SETTINGS:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _shared_statements() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_compiled_statements(patch)
        yield


@pytest.fixture(scope="session")
def preloaded() -> Iterator[Preloaded]:
    """Start programs that have torch, the app and this project imported already."""
    with ExitStack() as running:
        address = os.environ.get(_FORKED_AT)
        started = Preloaded(address) if address else running.enter_context(preload())
        started.run("-c", "")  # who waits for a program for seconds waits for no library
        yield started


@pytest.fixture
def forked(preloaded: Preloaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs, and readings of a person's data, be forks that have the libraries already."""
    for options, program in usual_programs(preloaded.python):
        monkeypatch.setitem(options, "program", program)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder. Under pytest-xdist every worker has one of its own inside of it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if _WORKER else base


@pytest.fixture(scope="session")
def demo_place(shared: Path, pytestconfig: pytest.Config) -> tuple[Path, Path | None]:
    """Where the demos are built, and where an earlier run has kept them."""
    # `pytest --cache-clear` and `-p no:cacheprovider` do without what was kept.
    without = getattr(pytestconfig, "cache", None) is None or pytestconfig.getoption("cacheclear")
    return shared / "demos", None if without else find_cache()


@pytest.fixture(scope="session", autouse=True)
def _demos_from_the_start(
    _own_environment: None, request: pytest.FixtureRequest, demo_place: tuple[Path, Path | None]
) -> Iterator[None]:
    """Build the demos beside the first tests, where other workers go on with others meanwhile."""
    if _WORKER != "gw0" or not any(map(_needs_demos, request.session.items)):
        yield
        return
    preloaded: Preloaded = request.getfixturevalue("preloaded")
    place = (str(part) for part in demo_place if part)
    building = preloaded.start("-m", "tests.demo_cache", *place)
    yield
    building.communicate()


@pytest.fixture(scope="session")
def built_demos(demo_place: tuple[Path, Path | None]) -> Path:
    """A workspace with both demos, built by the real command; never written by a test."""
    provide_demos(*demo_place)
    return demo_place[0]


@pytest.fixture(scope="session")
def built_houses(shared: Path) -> Path:
    """A workspace with a table of houses and their prices; never written by a test."""
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
