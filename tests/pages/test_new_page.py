"""A page is a file in the folder of pages and its title in one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from relabel.workspace import REPOSITORY_ROOT, Workspace
from tests.pages.conftest import ROUTER
from ui import navigation

TOY = '''
"""Show how many classes there are."""

import streamlit as st

from ui.session import require_project

st.title("Spelling")
st.metric("Classes", len(require_project().classes))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The pages with one more, as in a checkout to which somebody adds it."""
    pages = tmp_path / "pages"
    pages.mkdir()
    for path in (REPOSITORY_ROOT / "pages").glob("*.py"):
        (pages / path.name).symlink_to(path)
    (pages / "spelling.py").write_text(TOY)
    monkeypatch.setattr(navigation, "_PAGES_FOLDER", pages)
    return pages


def open_toy(folder: Path) -> AppTest:
    app = AppTest.from_file(str(ROUTER), default_timeout=60)
    app.query_params["project"] = "digits"
    app.switch_page(str(folder / "spelling.py"))
    return app.run()


def test_a_page_of_one_file_and_one_line_opens_with_its_frame(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(navigation.PAGES, "spelling", "Spelling")
    app = open_toy(folder)
    assert not app.exception
    assert [one.value for one in app.title] == ["Spelling"]
    assert [one.value for one in app.metric] == ["10"]
    assert app.sidebar.selectbox(key="project").value == "digits"


def test_without_its_line_it_is_no_page(folder: Path, workspace: Workspace) -> None:
    app = open_toy(folder)
    assert "Spelling" not in [one.value for one in app.title]
