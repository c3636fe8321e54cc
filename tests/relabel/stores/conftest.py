"""A store in memory, which nobody else than a test has a use for."""

from __future__ import annotations

import pytest

from relabel.stores.address import STORE_KINDS, StoreKind


@pytest.fixture(autouse=True)
def _store_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STORE_KINDS, "memory", StoreKind())
