"""Projects of one title are told apart by what a narrow box shows first."""

from __future__ import annotations

from types import SimpleNamespace

from ui.session import distinct_titles


def test_where_titles_are_the_same_the_name_leads():
    projects = [
        SimpleNamespace(slug="digits", title="Handwritten digits"),
        SimpleNamespace(slug="digits-2", title="Handwritten digits"),
        SimpleNamespace(slug="docs", title="Docs"),
    ]
    assert distinct_titles(projects) == {
        "digits": "digits · Handwritten digits",
        "digits-2": "digits-2 · Handwritten digits",
        "docs": "Docs",
    }
