"""A workspace with projects that were imported from files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relabel.db.engine import open_database
from relabel.workspace import Workspace
from tests.relabel.exporters.imported import Imported


@pytest.fixture
def imported(place: Workspace) -> Iterator[Imported]:
    engine = open_database(place.database_url)
    yield Imported(engine, place)
    engine.dispose()
