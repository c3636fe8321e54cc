"""Two tabs on the same suspect: one decision stands, the other person is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from relabel.db.engine import open_database
from relabel.db.history import fetch_history
from relabel.db.projects import get_project
from scripts.serving import Server
from tests.browser.presses import wait_for_example, wait_until_answered

pytestmark = pytest.mark.browser


def test_the_second_of_two_decisions_on_one_suspect_fails_visibly(
    context: BrowserContext, server: Server, open_page: Callable[..., None]
):
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        open_page(tab, "/review?project=digits")
        expect(tab.get_by_role("button", name="Keep")).to_be_visible()
    shown = wait_for_example(first)
    assert wait_for_example(second) == shown

    first.keyboard.press("k")
    second.keyboard.press("x")
    for tab in (first, second):
        wait_for_example(tab, other_than=shown)
        wait_until_answered(tab)

    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, "digits").id).rows
    finally:
        engine.dispose()
    assert [row.example_id for row in rows] == [shown]
    warnings = [tab.get_by_role("alert").count() for tab in (first, second)]
    assert sorted(warnings) == [0, 1], "exactly one of the two is told that it came too late"
