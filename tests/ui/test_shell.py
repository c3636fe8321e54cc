"""A page's document is Streamlit's own, and says where the server is."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ui.navigation import PAGES
from ui.server.shell import SHELLS, read_shell


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_told_where_the_server_is(name: str):
    answer = TestClient(Starlette(routes=SHELLS)).get(f"/{name}?project=docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    # A kept document would ask for the files of a Streamlit that has been replaced.
    assert answer.headers["cache-control"] == "no-cache"
    assert "BACKEND_BASE_URL" in answer.text


def test_it_is_told_before_streamlits_program_runs():
    told, program = read_shell().index("window.__streamlit"), read_shell().index("index.")
    assert 'type="module"' in read_shell()[program - 100 : program]
    assert told < read_shell().index("</head>")


def test_nothing_else_of_the_document_differs():
    added = re.compile(r"<script>\s+window\.__streamlit = .*?</script>\s+", re.DOTALL)
    document, count = added.subn("", read_shell())
    assert count == 1
    assert document.count("<script") == 2  # its own flag and its program
    assert '<div id="root">' in document
