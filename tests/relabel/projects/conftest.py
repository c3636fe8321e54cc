"""What is read or started in a process of its own is a fork that has the libraries already."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _fork_programs(forked: None) -> None:
    """Importing them takes longer than most of these tests."""
