"""An empty workspace of the test's own, with a database that is migrated already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tracin_core.config import Workspace, resolve_workspace
from tracin_core.reviews.database import open_database


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "tracin.db"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def place(tmp_path: Path, empty_database: Path) -> Workspace:
    place = resolve_workspace(tmp_path / "work")
    place.prepare()
    shutil.copy(empty_database, place.root / "tracin.db")
    return place
