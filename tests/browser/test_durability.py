"""A decision that the screen confirmed survives the death of the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from scripts.serving import Server, wait_until_idle
from tests.browser.presses import wait_for_example

pytestmark = pytest.mark.browser


def test_a_confirmed_decision_is_there_after_sigkill(
    page: Page, context: BrowserContext, server: Server, open_page: Callable[..., None]
):
    open_page(page, "/review?project=digits")
    expect(page.get_by_role("button", name="Keep")).to_be_visible()
    shown = wait_for_example(page)
    page.keyboard.press("x")
    page.get_by_text("Recorded:").wait_for()
    server.kill()

    engine = open_database(f"sqlite:///{server.workspace / 'tracin.db'}")
    try:
        rows = fetch_history(engine, get_project(engine, "digits").id).rows
    finally:
        engine.dispose()
    assert [(row.example_id, row.action) for row in rows] == [(shown, "exclude")]

    server.start()
    again = context.new_page()
    again.goto(f"{server.url}/history?project=digits")
    wait_until_idle(again)
    expect(again.get_by_role("button", name="Exclude (").first).to_be_visible()
    again.goto(f"{server.url}/review?project=digits")
    expect(again.get_by_role("button", name="Keep")).to_be_visible()
    assert wait_for_example(again) != shown
