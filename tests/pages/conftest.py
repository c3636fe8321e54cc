"""Pages run by Streamlit's own test harness, against a real scored project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import streamlit as st
from sqlalchemy import Engine
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from relabel.db.engine import open_database
from relabel.workspace import REPOSITORY_ROOT, Workspace
from tests.pages.review_screen import ReviewScreen
from ui.session import forget_engines

ROUTER = REPOSITORY_ROOT / "ui" / "router.py"
# Seconds that Streamlit waits for a page. How long one takes says how busy the machine is.
PAGE_TIMEOUT = 300


@pytest.fixture(scope="package", autouse=True)
def _one_look_for_components() -> Iterator[None]:
    """Look once for what extends Streamlit: it opens the files of every installed package."""
    with pytest.MonkeyPatch.context() as patch:
        scan = cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


@pytest.fixture
def open_app(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., AppTest]]:
    """Open a page of the app as a browser would: an address with parameters."""
    monkeypatch.setenv("TRACIN_REVIEWER", "tester")  # whom the server was started for
    st.cache_resource.clear()  # engines and vectors of another test's workspace
    forget_engines()

    def go(page: str, /, **params: str) -> AppTest:
        app = AppTest.from_file(str(ROUTER), default_timeout=PAGE_TIMEOUT)
        for name, value in params.items():
            app.query_params[name] = value
        app.switch_page(str(REPOSITORY_ROOT / "pages" / f"{page}.py"))
        return app.run()

    yield go
    st.cache_resource.clear()
    forget_engines()


@pytest.fixture
def open_review(open_app: Callable[..., AppTest]) -> Callable[..., ReviewScreen]:
    """Open the review as a person's screen, at an address with parameters."""

    def go(**params: str) -> ReviewScreen:
        app = open_app("review", **params)
        assert not app.exception
        return ReviewScreen(app)

    return go


@pytest.fixture
def engine(workspace: Workspace) -> Iterator[Engine]:
    opened = open_database(workspace.database_url)
    try:
        yield opened
    finally:
        opened.dispose()
