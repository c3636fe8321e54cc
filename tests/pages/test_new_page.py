"""A page is its file in `pages/` and its line in the table of pages; all else follows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from relabel.workspace import REPOSITORY_ROOT, Workspace
from tests.pages.conftest import PAGE_TIMEOUT, ROUTER
from ui import navigation

PAGES_FOLDER = REPOSITORY_ROOT / "pages"
TOY = """
import streamlit as st

from ui.navigation import open_page
from ui.session import require_project

st.title("Toys", anchor=False)
st.text(f"Of {require_project().slug}")
if st.button("To the queue", key="to-queue"):
    open_page("queue")
"""
ROUTES = """
from ui.navigation import PAGES
PAGES["toys"] = "Toys"
from app import app
print(*(route.path for route in app._user_routes), sep="\\n")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of pages with one more, which the table names."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for page in PAGES_FOLDER.glob("*.py"):
        (folder / page.name).symlink_to(page)
    (folder / "toys.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(navigation, "_PAGES_FOLDER", folder)
    monkeypatch.setitem(navigation.PAGES, "toys", "Toys")
    return folder


def test_every_page_has_a_file_and_a_line_in_the_table():
    assert {page.stem for page in PAGES_FOLDER.glob("*.py")} == set(navigation.PAGES)


def test_a_page_that_is_added_is_in_the_navigation_and_opens(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    listed = []
    navigate = st.navigation

    def record(pages, **options):
        listed.extend(page.title for page in pages if page.visibility == "visible")
        return navigate(pages, **options)

    monkeypatch.setattr(st, "navigation", record)
    app = AppTest.from_file(str(ROUTER), default_timeout=PAGE_TIMEOUT)
    app.query_params["project"] = "docs"
    app.switch_page(str(folder / "toys.py")).run()
    assert not app.exception
    assert listed == list(navigation.PAGES.values())
    assert listed[-1] == "Toys"
    assert app.title[0].value == "Toys"
    assert app.text[0].value == "Of docs"
    app.button(key="to-queue").click().run()
    assert not app.exception
    assert app.title[0].value == "Queue"


def test_a_page_that_is_added_has_an_address_of_its_own_and_leads_up_to_it():
    done = subprocess.run(
        [sys.executable, "-c", ROUTES], cwd=REPOSITORY_ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"/toys", "/toys/{rest:path}", "/queue"} <= set(done.stdout.splitlines())
